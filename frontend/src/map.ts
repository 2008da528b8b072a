import { type Palette, themed } from "./colours";
import { type Scale, position } from "./scale";
import { FILLED, OBSERVED, OUTSIDE, REFUSED, type Site, type Variable, type View, isGap } from "./view";

/** What a panel shows: the data as sent, with its gaps filled, or the uncertainty of the fills. */
export type Show = "sent" | "filled" | "std";

export interface Scene {
  readonly view: View;
  readonly variable: Variable;
  readonly step: number;
  readonly cell: number | null;
  readonly site: number | null;
  readonly scale: Scale;
  readonly palette: Palette;
}

const MAX_HEIGHT_PX = 470;

/** One map on a canvas; cells are numbered as in the data, row by row. */
export class MapPanel {
  private readonly pixels = document.createElement("canvas");
  private scene: Scene | null = null;

  constructor(
    readonly canvas: HTMLCanvasElement,
    private readonly show: Show,
    pick: (cell: number) => void,
    pickSite: (site: number) => void,
    hover: (cell: number | null) => void,
  ) {
    canvas.addEventListener("click", (event) => {
      const site = this.siteAt(event.offsetX, event.offsetY);
      const cell = this.cellAt(event.offsetX, event.offsetY);
      if (site !== null) pickSite(site);
      else if (cell !== null) pick(cell);
    });
    canvas.addEventListener("pointermove", (event) => hover(this.cellAt(event.offsetX, event.offsetY)));
    canvas.addEventListener("pointerleave", () => hover(null));
    canvas.addEventListener("keydown", (event) => {
      const cell = this.moved(event.key);
      if (cell === null) return;
      event.preventDefault();
      pick(cell);
    });
  }

  draw(scene: Scene): void {
    this.scene = scene;
    const [width, height] = this.fit(scene.view);
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    const context = this.canvas.getContext("2d");
    if (context === null) return;
    context.scale(ratio, ratio);
    context.clearRect(0, 0, width, height);
    this.drawHatch(context, width, height);
    this.drawCells(context, width, height);
    if (this.show !== "std") this.drawOutlines(context);
    this.drawSites(context);
    this.drawSelection(context);
  }

  private fit(view: View): [number, number] {
    const room = (this.canvas.parentElement as HTMLElement).clientWidth;
    const aspect = aspectOf(view);
    const height = Math.min(MAX_HEIGHT_PX, room / aspect);
    return [Math.max(1, Math.floor(height * aspect)), Math.max(1, Math.floor(height))];
  }

  private get size(): { columns: number; rows: number; w: number; h: number } {
    const { x, y } = (this.scene as Scene).view;
    const w = this.canvas.clientWidth / x.length;
    const h = this.canvas.clientHeight / y.length;
    return { columns: x.length, rows: y.length, w, h };
  }

  private get northIsLast(): boolean {
    const { y } = (this.scene as Scene).view;
    return y.length > 1 && y[0] < y[y.length - 1];
  }

  private get eastIsFirst(): boolean {
    const { x } = (this.scene as Scene).view;
    return x.length > 1 && x[0] > x[x.length - 1];
  }

  /** Row and column on the screen, from the upper left, <-> cell of the data. */
  private cellOf(row: number, column: number): number {
    const { columns, rows } = this.size;
    const r = this.northIsLast ? rows - 1 - row : row;
    const c = this.eastIsFirst ? columns - 1 - column : column;
    return r * columns + c;
  }

  private placeOf(cell: number): [row: number, column: number] {
    const { columns, rows } = this.size;
    const r = Math.floor(cell / columns);
    const c = cell % columns;
    return [this.northIsLast ? rows - 1 - r : r, this.eastIsFirst ? columns - 1 - c : c];
  }

  private cellAt(px: number, py: number): number | null {
    if (this.scene === null) return null;
    const { columns, rows, w, h } = this.size;
    const row = Math.floor(py / h);
    const column = Math.floor(px / w);
    return row >= 0 && row < rows && column >= 0 && column < columns ? this.cellOf(row, column) : null;
  }

  private moved(key: string): number | null {
    const by = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[key];
    if (by === undefined || this.scene === null) return null;
    const { columns, rows } = this.size;
    const [row, column] = this.placeOf(this.scene.cell ?? this.cellOf(0, 0));
    const clamp = (v: number, n: number): number => Math.min(Math.max(v, 0), n - 1);
    return this.cellOf(clamp(row + by[0], rows), clamp(column + by[1], columns));
  }

  private flagAt(row: number, column: number): number {
    const { variable, step } = this.scene as Scene;
    return variable.flag[step * variable.width + this.cellOf(row, column)];
  }

  /** Hatching below the cells; it shows where values are missing. */
  private drawHatch(context: CanvasRenderingContext2D, width: number, height: number): void {
    context.fillStyle = themed("--map-gap");
    context.fillRect(0, 0, width, height);
    context.strokeStyle = themed("--map-hatch");
    context.lineWidth = 1;
    context.beginPath();
    for (let at = -height; at < width; at += 6) {
      context.moveTo(at, height);
      context.lineTo(at + height, 0);
    }
    context.stroke();
  }

  private drawCells(context: CanvasRenderingContext2D, width: number, height: number): void {
    const { variable, step, scale, palette } = this.scene as Scene;
    const { columns, rows } = this.size;
    const image = new ImageData(columns, rows);
    const out = new Uint32Array(image.data.buffer);
    const plain = pixelOf(themed(this.show === "std" ? "--map-observed" : "--surface"));
    const outside = pixelOf(themed("--surface"));
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const at = step * variable.width + this.cellOf(row, column);
        const flag = variable.flag[at];
        const value = this.show === "std" ? variable.std[at] : variable.values[at];
        const shown = this.show === "std" ? flag === FILLED : flag === OBSERVED || (this.show === "filled" && flag === FILLED);
        let pixel = 0;
        if (flag === OUTSIDE) pixel = outside;
        else if (shown && Number.isFinite(value)) pixel = palette[Math.round(255 * position(scale, value))];
        else if (this.show === "std" && flag === OBSERVED) pixel = plain;
        out[row * columns + column] = pixel;
      }
    }
    this.pixels.width = columns;
    this.pixels.height = rows;
    this.pixels.getContext("2d")?.putImageData(image, 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(this.pixels, 0, 0, width, height);
  }

  /** A line around each gap, dark on light, so that it is visible on every colour. */
  private drawOutlines(context: CanvasRenderingContext2D): void {
    const { columns, rows, w, h } = this.size;
    const gap = (row: number, column: number): boolean =>
      row >= 0 && row < rows && column >= 0 && column < columns && isGap(this.flagAt(row, column));
    const path = new Path2D();
    for (let row = 0; row <= rows; row++) {
      for (let column = 0; column <= columns; column++) {
        const here = gap(row, column);
        if (here !== gap(row - 1, column)) {
          path.moveTo(column * w, row * h);
          path.lineTo((column + 1) * w, row * h);
        }
        if (here !== gap(row, column - 1)) {
          path.moveTo(column * w, row * h);
          path.lineTo(column * w, (row + 1) * h);
        }
      }
    }
    const fine = Math.min(w, h) < 8;
    context.lineCap = "square";
    context.strokeStyle = "rgba(255, 255, 255, 0.95)";
    context.lineWidth = fine ? 1.5 : 2.5;
    context.stroke(path);
    context.strokeStyle = "rgba(10, 14, 20, 0.95)";
    context.lineWidth = fine ? 0.75 : 1.1;
    context.stroke(path);
  }

  private pixelPlace(site: Site): [number, number] {
    const { view } = this.scene as Scene;
    const { w, h } = this.size;
    const along = (axis: readonly number[], at: number): number => {
      const step = axis.length > 1 ? axis[1] - axis[0] : 1;
      return (at - axis[0]) / step + 0.5;
    };
    const column = along(view.x, site.x);
    const row = along(view.y, site.y);
    return [
      (this.eastIsFirst ? view.x.length - column : column) * w,
      (this.northIsLast ? view.y.length - row : row) * h,
    ];
  }

  private siteAt(px: number, py: number): number | null {
    if (this.scene === null || this.scene.view.series.length === 0) return null;
    const near = this.scene.view.sites.findIndex((site) => {
      const [x, y] = this.pixelPlace(site);
      return Math.hypot(px - x, py - y) <= 9;
    });
    return near < 0 ? null : near;
  }

  private drawSites(context: CanvasRenderingContext2D): void {
    const { view, site: chosen } = this.scene as Scene;
    if (view.series.length === 0) return;
    view.sites.forEach((site, index) => {
      const [x, y] = this.pixelPlace(site);
      const size = index === chosen ? 7 : 5.5;
      context.beginPath();
      context.moveTo(x, y + size);
      context.lineTo(x - size, y - size * 0.8);
      context.lineTo(x + size, y - size * 0.8);
      context.closePath();
      context.lineJoin = "round";
      context.lineWidth = 4;
      context.strokeStyle = "#0a0e14";
      context.stroke();
      context.lineWidth = 1.5;
      context.fillStyle = index === chosen ? "#ff9a3d" : "#ffffff";
      context.strokeStyle = "#ffffff";
      context.stroke();
      context.fill();
    });
  }

  private drawSelection(context: CanvasRenderingContext2D): void {
    const { cell } = this.scene as Scene;
    if (cell === null) return;
    const { w, h } = this.size;
    const [row, column] = this.placeOf(cell);
    const grow = Math.max(0, (9 - Math.min(w, h)) / 2);
    for (const [colour, line] of [["#0a0e14", 5], ["#ff9a3d", 2.5]] as const) {
      context.strokeStyle = colour;
      context.lineWidth = line;
      context.strokeRect(column * w - grow, row * h - grow, w + 2 * grow, h + 2 * grow);
    }
  }
}

/** Width over height on the ground. */
export function aspectOf(view: View): number {
  const step = (axis: readonly number[]): number => (axis.length > 1 ? Math.abs(axis[1] - axis[0]) : 1);
  const middle = view.y[Math.floor(view.y.length / 2)];
  const shrink = view.geographic ? Math.max(Math.cos((middle * Math.PI) / 180), 0.1) : 1;
  const aspect = (view.x.length * step(view.x) * shrink) / (view.y.length * step(view.y));
  return Math.min(Math.max(aspect, 0.2), 6);
}

/** The flag in words, for the readout and for screen readers. */
export function statusOf(flag: number): string {
  return { [OBSERVED]: "observed", [FILLED]: "filled", [OUTSIDE]: "outside", [REFUSED]: "gap" }[flag] ?? "";
}

const known = new Map<string, number>();

/** A colour of the style sheet (#rrggbb) as the bytes of a pixel. */
function pixelOf(colour: string): number {
  let pixel = known.get(colour);
  if (pixel === undefined) {
    const rgb = Number.parseInt(colour.slice(1), 16);
    pixel = (0xff000000 | ((rgb & 0xff) << 16) | (rgb & 0xff00) | (rgb >> 16)) >>> 0;
    known.set(colour, pixel);
  }
  return pixel;
}
