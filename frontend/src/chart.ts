import uPlot from "uplot";
import { themed } from "./colours";
import { format } from "./scale";
import { FILLED, OBSERVED, type Variable } from "./view";

/** Half width, in standard deviations, of the interval with 90 % of a normal distribution: its 0.95 quantile. */
const HALF_WIDTH_90 = 1.6448536;
const MAX_POINTS = 400;

/** Time series of one cell or gauge: observed values, filled values, and the 90 % band of the filled values. */
export class Chart {
  private plot: uPlot | null = null;
  private step = 0;
  private last: { time: readonly number[]; variable: Variable; index: number } | null = null;

  constructor(
    private readonly box: HTMLElement,
    private readonly pickStep: (step: number) => void,
  ) {
    new ResizeObserver(() => this.plot?.setSize(this.size)).observe(box);
  }

  draw(time: readonly number[], variable: Variable, index: number): void {
    this.last = { time, variable, index };
    const data = columns(time, variable, index);
    this.plot?.destroy();
    this.plot = new uPlot(this.options(), data, this.box);
  }

  redraw(): void {
    if (this.last !== null) this.draw(this.last.time, this.last.variable, this.last.index);
  }

  moveTo(step: number): void {
    this.step = step;
    this.plot?.redraw(false, false);
  }

  private get size(): { width: number; height: number } {
    return { width: Math.max(this.box.clientWidth, 200), height: Math.max(this.box.clientHeight, 160) };
  }

  private options(): uPlot.Options {
    const ink = themed("--muted");
    const axis = { stroke: ink, grid: { stroke: themed("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    const filled = themed("--chart-filled");
    const sparse = (this.last?.time.length ?? 0) <= MAX_POINTS;
    return {
      ...this.size,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
      legend: { show: false },
      padding: [8, 22, 0, 0],
      cursor: { drag: { x: false, y: false }, points: { show: false }, y: false },
      scales: { y: { range: (_, low, high) => padded(low, high, this.last?.variable.lower ?? null) } },
      axes: [
        { ...axis, size: 30, space: 62, values: "{D} {MMM}" },
        { ...axis, size: 46, space: 34, values: (_, values) => values.map(format) },
      ],
      series: [
        {},
        { stroke: "transparent", points: { show: false } },
        { stroke: "transparent", points: { show: false } },
        { stroke: filled, width: 1.75, points: { show: false } },
        { stroke: themed("--chart-observed"), width: 1.75, points: { show: sparse, size: 4, width: 0, fill: themed("--chart-observed") } },
        { paths: () => null, points: { show: sparse, size: 5, width: 0, fill: filled } },
      ],
      bands: [{ series: [2, 1], fill: themed("--chart-band") }],
      hooks: {
        draw: [(plot) => this.drawNow(plot)],
        ready: [(plot) => plot.over.addEventListener("click", () => this.pick(plot))],
      },
    };
  }

  private pick(plot: uPlot): void {
    const { idx } = plot.cursor;
    if (typeof idx === "number") this.pickStep(idx);
  }

  private drawNow(plot: uPlot): void {
    const at = plot.data[0][this.step];
    if (at === undefined) return;
    const x = plot.valToPos(at, "x", true);
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.strokeStyle = themed("--accent");
    ctx.lineWidth = 1.5 * devicePixelRatio;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.restore();
  }
}

/** Columns of the chart: time, band, whole line, observed line, filled points. Where observed, the band has no width. */
function columns(time: readonly number[], variable: Variable, index: number): uPlot.AlignedData {
  const { width, flag, lower } = variable;
  const at = time.map((_, step) => step * width + index);
  const present = (i: number): boolean => flag[i] === OBSERVED || flag[i] === FILLED;
  const anyFilled = at.some((i) => flag[i] === FILLED);
  const bound = lower ?? Number.NEGATIVE_INFINITY;
  const pick = (use: (i: number) => boolean, value: (i: number) => number): (number | null)[] =>
    at.map((i) => (use(i) && Number.isFinite(value(i)) ? value(i) : null));
  const { values, std } = variable;
  return [
    time.every(Number.isFinite) ? [...time] : time.map((_, i) => i),
    pick(present, (i) => Math.max(values[i] - HALF_WIDTH_90 * std[i], bound)),
    pick(present, (i) => values[i] + HALF_WIDTH_90 * std[i]),
    pick((i) => anyFilled && present(i), (i) => values[i]),
    pick((i) => flag[i] === OBSERVED, (i) => values[i]),
    pick((i) => flag[i] === FILLED, (i) => values[i]),
  ];
}

function padded(low: number, high: number, lower: number | null): [number, number] {
  if (!Number.isFinite(low) || !Number.isFinite(high)) return [0, 1];
  const room = Math.max((high - low) * 0.06, Math.abs(high) * 1e-3, 1e-6);
  const bottom = lower !== null && low - lower < (high - low) * 0.3 ? lower : low - room;
  return [bottom, high + room];
}
