/** A colour scale: linear, or by the square root for variables that are mostly near zero. */
export interface Scale {
  readonly low: number;
  readonly high: number;
  readonly root: boolean;
}

export function position(scale: Scale, value: number): number {
  const bend = (v: number): number => (scale.root ? Math.sqrt(Math.max(v, 0)) : v);
  const low = bend(scale.low);
  const width = bend(scale.high) - low;
  return width > 0 ? Math.min(Math.max((bend(value) - low) / width, 0), 1) : 0.5;
}

/** A scale over the middle 99 % of values; `root` starts it at zero. */
export function scaleOf(values: Float32Array, root: boolean, fromZero = root): Scale {
  const sorted = values.filter((v) => Number.isFinite(v)).sort();
  if (sorted.length === 0) return { low: 0, high: 1, root: false };
  const at = (share: number): number => sorted[Math.round(share * (sorted.length - 1))];
  const low = fromZero ? 0 : at(0.005);
  const high = at(0.995);
  const top = high > low ? high : low + Math.max(Math.abs(low) * 0.01, 1e-6);
  return { low, high: top, root };
}

/** About `count` round numbers inside the scale, evenly distributed over its length. */
export function ticks(scale: Scale, count: number): number[] {
  if (!scale.root) return roundNumbers(scale.low, scale.high, count);
  const top = Math.sqrt(scale.high);
  const found = new Set<number>([0]);
  for (let i = 1; i <= count; i++) {
    const wanted = ((top * i) / count) ** 2;
    const magnitude = 10 ** Math.floor(Math.log10(wanted));
    const lead = [1, 1.5, 2, 3, 4, 5, 6, 8].findLast((n) => n * magnitude <= wanted * 1.001) ?? 1;
    found.add(lead * magnitude);
  }
  return [...found];
}

function roundNumbers(low: number, high: number, count: number): number[] {
  const rough = (high - low) / count;
  const magnitude = 10 ** Math.floor(Math.log10(rough));
  const step = magnitude * ([1, 2, 2.5, 5, 10].find((n) => n * magnitude >= rough) ?? 10);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
}

/** Three significant digits; an exponent only for very large or very small values. */
export function format(value: number): string {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e6 || size < 1e-3)) return value.toExponential(1);
  const digits = size >= 100 || size === 0 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
  return value.toFixed(digits).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "").replace("-", "−");
}

/** A value and its standard deviation, both with the decimals of two significant digits of the latter. */
export function formatWithStd(value: number, std: number): string {
  if (!(std > 1e-4) || Math.abs(value) >= 1e6) return `${format(value)} ± ${format(std)}`;
  const decimals = Math.max(0, 1 - Math.floor(Math.log10(std)));
  return `${value.toFixed(decimals).replace("-", "−")} ± ${std.toFixed(decimals)}`;
}

export const count = (n: number): string => n.toLocaleString("en");

export function share(part: number, whole: number): string {
  if (whole === 0) return "–";
  const percent = (100 * part) / whole;
  return `${percent > 0 && percent < 1 ? "<1" : Math.round(percent)} %`;
}

export function bytes(n: number): string {
  return n < 1e6 ? `${Math.max(1, Math.round(n / 1e3))} kB` : `${(n / 1e6).toFixed(1)} MB`;
}

const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

/** `mm day-1` as people print it: mm day⁻¹. */
export function prettyUnits(units: string): string {
  const named = units.replace(/^(degC|degrees?_?[Cc]elsius|celsius)$/i, "°C");
  return named.replace(/(?<=[A-Za-z])(-?)(\d+)\b/g, (_, sign: string, digits: string) => {
    return (sign ? "⁻" : "") + [...digits].map((d) => SUPERSCRIPTS[Number(d)]).join("");
  });
}
