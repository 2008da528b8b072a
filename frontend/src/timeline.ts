import { themed } from "./colours";
import { at } from "./page";

const FRAME_MS = 160;

/** The time slider with its buttons, and above it the share of gaps at each step. */
export class Timeline {
  private readonly slider = at<HTMLInputElement>("step");
  private readonly strip = at<HTMLCanvasElement>("strip");
  private readonly play = at("play");
  private labels: readonly string[] = [];
  private shares: readonly number[] = [];
  private timer: number | undefined;

  constructor(private readonly moved: (step: number) => void) {
    this.slider.addEventListener("input", () => this.show());
    at("back").addEventListener("click", () => this.go(this.step - 1));
    at("forward").addEventListener("click", () => this.go(this.step + 1));
    this.play.addEventListener("click", () => (this.timer === undefined ? this.start() : this.stop()));
    new ResizeObserver(() => this.drawStrip()).observe(this.strip);
  }

  get step(): number {
    return Number(this.slider.value);
  }

  load(labels: readonly string[], step: number): void {
    this.stop();
    this.labels = labels;
    this.slider.max = String(labels.length - 1);
    this.slider.value = String(step);
    this.show();
  }

  showShares(shares: readonly number[]): void {
    this.shares = shares;
    this.drawStrip();
  }

  go(step: number): void {
    const steps = this.labels.length;
    this.slider.value = String((step + steps) % steps);
    this.show();
  }

  stop(): void {
    clearInterval(this.timer);
    this.timer = undefined;
    this.showPlaying(false);
  }

  drawStrip(): void {
    const ratio = devicePixelRatio || 1;
    const width = this.strip.clientWidth;
    const height = this.strip.clientHeight;
    this.strip.width = Math.round(width * ratio);
    this.strip.height = Math.round(height * ratio);
    const context = this.strip.getContext("2d");
    if (context === null || this.shares.length === 0) return;
    context.scale(ratio, ratio);
    const wide = width / this.shares.length;
    this.shares.forEach((share, step) => {
      const tall = share > 0 ? Math.max(share * height, 1.5) : 0;
      context.fillStyle = themed(step === this.step ? "--accent" : "--strip");
      context.fillRect(step * wide, height - tall, Math.max(wide - (wide > 4 ? 1 : 0), 0.5), tall);
    });
  }

  private show(): void {
    const label = this.labels[this.step] ?? "";
    at("date").textContent = label;
    this.slider.setAttribute("aria-valuetext", label);
    this.drawStrip();
    this.moved(this.step);
  }

  private start(): void {
    this.timer = window.setInterval(() => this.go(this.step + 1), FRAME_MS);
    this.showPlaying(true);
  }

  private showPlaying(playing: boolean): void {
    this.play.setAttribute("aria-pressed", String(playing));
    this.play.setAttribute("aria-label", playing ? "Pause" : "Play");
  }
}
