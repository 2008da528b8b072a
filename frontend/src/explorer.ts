import { Chart } from "./chart";
import { FIELD_PALETTE, STD_PALETTE, onThemeChange } from "./colours";
import { drawLegend } from "./legend";
import { MapPanel, type Scene, type Show, aspectOf, statusOf } from "./map";
import { announce, at, element } from "./page";
import { type Scale, count, format, formatWithStd, prettyUnits, scaleOf, share } from "./scale";
import { Timeline } from "./timeline";
import { FILLED, OBSERVED, type Variable, type View, countFlags, gapShares, isGap, timeLabels } from "./view";

interface Scales {
  readonly field: Scale;
  readonly std: Scale;
}

/** The place of the time series: a cell of a gridded variable, or a gauge. */
type Place = { readonly kind: "cell" } | { readonly kind: "site"; readonly series: number; readonly site: number };

/** Maps, time slider, time series and statistics of one file, before and after its gaps are filled. */
export class Explorer {
  private view: View | null = null;
  private isFilled = false;
  private field = 0;
  private cell = 0;
  private place: Place = { kind: "cell" };
  private labels: string[] = [];
  private scales: Scales[] = [];
  private readonly panels: ReadonlyMap<Show, MapPanel>;
  private readonly timeline = new Timeline(() => this.drawStep());
  private readonly chart = new Chart(at("chart"), (step) => this.timeline.go(step));

  constructor() {
    const panel = (show: Show): [Show, MapPanel] => {
      const canvas = at<HTMLCanvasElement>(`map-${show}`);
      return [show, new MapPanel(canvas, show, (c) => this.pickCell(c), (s) => this.pickSite(s), (c) => this.readOut(c))];
    };
    this.panels = new Map([panel("sent"), panel("filled"), panel("std")]);
    at("place").addEventListener("change", () => this.pickPlace(at<HTMLSelectElement>("place").value));
    onThemeChange(() => this.drawAll());
    let width = 0;
    new ResizeObserver(([entry]) => {
      if (entry.contentRect.width === width) return;
      width = entry.contentRect.width;
      this.drawStep();
      this.drawLegends();
    }).observe(at("maps"));
  }

  /** Shows a new file, at a step and cell with something to see. */
  open(view: View): void {
    this.field = 0;
    this.place = view.fields.length > 0 ? { kind: "cell" } : { kind: "site", series: 0, site: 0 };
    this.isFilled = false;
    this.take(view);
    const step = this.firstStep();
    this.cell = this.firstCell(step);
    this.timeline.load(this.labels, step);
    this.drawAll();
  }

  /** Shows the same file filled, or again as it was sent; step and place stay. */
  update(view: View, isFilled: boolean): void {
    this.isFilled = isFilled;
    this.take(view);
    this.drawAll();
  }

  private take(view: View): void {
    this.view = view;
    this.labels = timeLabels(view.time);
    this.scales = view.fields.map((variable) => ({
      field: scaleOf(variable.values.filter((_, i) => variable.flag[i] === OBSERVED), variable.root),
      std: scaleOf(variable.std.filter((_, i) => variable.flag[i] === FILLED), variable.root, true),
    }));
    at("columns").classList.toggle("wide", view.fields.length > 0 && aspectOf(view) > 1.2);
    at("columns").classList.toggle("no-maps", view.fields.length === 0);
    at("key-sites").hidden = view.series.length === 0;
  }

  private get variable(): Variable | undefined {
    return this.view?.fields[this.field];
  }

  /** The step to show first: many gaps, many observed values and large variation. */
  private firstStep(): number {
    const variable = this.variable ?? this.view?.series[0];
    if (variable === undefined) return 0;
    const worth = gapShares(variable).map((gaps, step) => {
      const frame = variable.values.subarray(step * variable.width, (step + 1) * variable.width).filter(Number.isFinite);
      const mean = frame.reduce((sum, v) => sum + v, 0) / Math.max(frame.length, 1);
      const variation = frame.reduce((sum, v) => sum + Math.abs(v - mean), 0) / Math.max(frame.length, 1);
      return gaps * (1 - gaps) * Math.sqrt(variation);
    });
    return Math.max(0, worth.indexOf(Math.max(...worth)));
  }

  /** The cell to show first: a gap at this step, many gaps at other steps, and some observed values. */
  private firstCell(step: number): number {
    const variable = this.variable;
    if (variable === undefined) return 0;
    const { width, flag } = variable;
    const worth = new Float32Array(width);
    flag.forEach((f, i) => {
      if (isGap(f)) worth[i % width] += 1;
      if (f === OBSERVED) worth[i % width] += 1e-3;
    });
    for (let cell = 0; cell < width; cell++) if (isGap(flag[step * width + cell])) worth[cell] += 0.5 * flag.length / width;
    return worth.indexOf(worth.reduce((most, w) => Math.max(most, w), 0));
  }

  private pickCell(cell: number): void {
    this.cell = cell;
    this.place = { kind: "cell" };
    this.drawStep();
    this.drawSeries();
    announce(this.textOf(cell));
  }

  private pickSite(site: number): void {
    const series = this.place.kind === "site" ? this.place.series : 0;
    this.place = { kind: "site", series, site };
    this.drawStep();
    this.drawSeries();
  }

  private pickPlace(value: string): void {
    const [kind, series, site] = value.split("/");
    this.place = kind === "cell" ? { kind } : { kind: "site", series: Number(series), site: Number(site) };
    this.drawStep();
    this.drawSeries();
  }

  private drawAll(): void {
    if (this.view === null) return;
    this.drawVariables();
    this.drawStats();
    this.drawStep();
    this.drawLegends();
    this.drawSeries();
    const shown = this.variable ?? this.view.series[0];
    if (shown !== undefined) this.timeline.showShares(gapShares(shown));
    at("wait-filled").hidden = this.isFilled;
    at("wait-std").hidden = this.isFilled;
  }

  private drawVariables(): void {
    const fields = this.view?.fields ?? [];
    const pills = fields.map((variable, index) => {
      const pill = element("label", "", "pill");
      const input = document.createElement("input");
      Object.assign(input, { type: "radio", name: "variable", value: variable.name, checked: index === this.field });
      input.addEventListener("change", () => {
        this.field = index;
        this.drawAll();
        document.querySelector<HTMLInputElement>("#variables input:checked")?.focus();
      });
      pill.append(input, element("span", variable.label));
      return pill;
    });
    const legend = at("variables").firstElementChild as HTMLElement;
    at("variables").replaceChildren(legend, ...pills);
  }

  private drawStep(): void {
    const { view, variable } = this;
    if (view === null) return;
    this.chart.moveTo(this.timeline.step);
    this.showSeriesNow();
    if (variable === undefined) return;
    const scales = this.scales[this.field];
    const onMap = this.place.kind === "cell" ? { cell: this.cell, site: null } : { cell: null, site: this.place.site };
    for (const [show, panel] of this.panels) {
      const isStd = show === "std";
      const scene: Scene = {
        ...{ view, variable, step: this.timeline.step, ...onMap },
        scale: isStd ? scales.std : scales.field,
        palette: isStd ? STD_PALETTE : FIELD_PALETTE,
      };
      panel.draw(scene);
      const what = { sent: "as sent", filled: "filled", std: "uncertainty" }[show];
      panel.canvas.setAttribute("aria-label", `Map of ${variable.label}, ${what}, ${this.labels[this.timeline.step]}`);
    }
    this.readOut(null);
  }

  private drawLegends(): void {
    const { variable } = this;
    if (variable === undefined) return;
    const units = prettyUnits(variable.units);
    const { field, std } = this.scales[this.field];
    const both = at("legend-field");
    const sigma = at("legend-std");
    (both.firstElementChild as HTMLElement).textContent = `${variable.label}, ${units}${field.root ? ", √ scale" : ""}`;
    (sigma.firstElementChild as HTMLElement).textContent = `σ, ${units}${std.root ? ", √ scale" : ""}`;
    drawLegend(both, field, FIELD_PALETTE);
    drawLegend(sigma, std, STD_PALETTE);
    sigma.classList.toggle("idle", !this.isFilled);
  }

  private drawSeries(): void {
    const { view } = this;
    if (view === null) return;
    const options = view.fields.length > 0 ? [new Option(`${this.variable?.label}: cell ${this.cellName(this.cell)}`, "cell")] : [];
    view.series.forEach((series, s) => {
      view.sites.forEach((site, i) => options.push(new Option(`${series.label}: gauge ${site.id}`, `site/${s}/${i}`)));
    });
    const select = at<HTMLSelectElement>("place");
    select.replaceChildren(...options);
    select.value = this.place.kind === "cell" ? "cell" : `site/${this.place.series}/${this.place.site}`;
    const [variable, index] = this.charted();
    if (variable === undefined) return;
    this.chart.draw(view.time, variable, index);
    at("chart").setAttribute("aria-label", `Time series, ${select.selectedOptions[0]?.text ?? ""}`);
    this.showSeriesNow();
  }

  private charted(): [Variable | undefined, number] {
    const place = this.place;
    return place.kind === "cell" ? [this.variable, this.cell] : [this.view?.series[place.series], place.site];
  }

  private showSeriesNow(): void {
    const [variable, index] = this.charted();
    if (variable === undefined) return;
    const text = valueText(variable, this.timeline.step * variable.width + index);
    const now = element("span", this.labels[this.timeline.step], "when");
    at("series-now").replaceChildren(element("strong", text.value), element("span", text.status, `tag ${text.status}`), now);
  }

  private readOut(cell: number | null): void {
    const shown = cell ?? (this.place.kind === "cell" ? this.cell : null);
    at("readout").textContent = shown === null ? "" : this.textOf(shown);
  }

  private cellName(cell: number): string {
    const columns = this.view?.x.length ?? 1;
    return `${Math.floor(cell / columns) + 1}, ${(cell % columns) + 1}`;
  }

  private textOf(cell: number): string {
    const { variable } = this;
    if (variable === undefined) return "";
    const text = valueText(variable, this.timeline.step * variable.width + cell);
    return `Cell ${this.cellName(cell)}: ${text.value}, ${text.status}`;
  }

  private drawStats(): void {
    const rows = [...(this.view?.fields ?? []), ...(this.view?.series ?? [])].map((variable) => {
      const counts = countFlags(variable);
      const gaps = counts.filled + counts.refused;
      const inside = counts.observed + gaps;
      const row = element("tr");
      const head = element("th", variable.label);
      head.setAttribute("scope", "row");
      const refused = counts.refused > 0 ? `${count(counts.filled)} (${count(counts.refused)} refused)` : count(counts.filled);
      const texts = [share(counts.observed, inside), share(gaps, inside), this.isFilled ? refused : "–", `${counts.longest} steps`];
      row.append(head, ...texts.map((text) => element("td", text)));
      return row;
    });
    at("stats").replaceChildren(...rows);
  }
}

/** Gaps and values of all variables together. */
export function countGaps(view: View): { gaps: number; values: number } {
  const all = [...view.fields, ...view.series].map(countFlags);
  const gaps = all.reduce((sum, c) => sum + c.filled + c.refused, 0);
  return { gaps, values: all.reduce((sum, c) => sum + c.observed, gaps) };
}

function valueText(variable: Variable, at: number): { value: string; status: string } {
  const units = prettyUnits(variable.units);
  const flag = variable.flag[at];
  const status = statusOf(flag);
  if (flag === OBSERVED) return { value: `${format(variable.values[at])} ${units}`, status };
  if (flag === FILLED) return { value: `${formatWithStd(variable.values[at], variable.std[at])} ${units}`, status };
  return { value: "no value", status };
}
