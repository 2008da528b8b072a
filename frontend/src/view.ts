/** A reply of the server as arrays to draw: one flat array per variable. */

export const OBSERVED = 0;
export const FILLED = 1;
export const OUTSIDE = 2;
export const REFUSED = 3;

export interface Spec {
  readonly name: string;
  readonly kind: string;
  readonly long_name: string;
  readonly lower: number | null;
  readonly transform: string;
}

export interface Site {
  readonly id: string;
  readonly y: number;
  readonly x: number;
}

/** One variable, (T, H, W) or (T, N), flat with time outermost. NaN: missing value; `std` is 0 where observed. */
export interface Variable {
  readonly name: string;
  readonly label: string;
  readonly units: string;
  readonly lower: number | null;
  readonly root: boolean;
  readonly values: Float32Array;
  readonly std: Float32Array;
  readonly flag: Uint8Array;
  /** Values in one time step. */
  readonly width: number;
}

export interface View {
  /** Seconds since 1970. */
  readonly time: readonly number[];
  readonly y: readonly number[];
  readonly x: readonly number[];
  readonly geographic: boolean;
  readonly sites: readonly Site[];
  readonly fields: readonly Variable[];
  readonly series: readonly Variable[];
  readonly bundle: { readonly name: string; readonly version: string };
}

interface ReplyVariable {
  units: string;
  values: unknown[];
  std?: unknown[];
  flag?: unknown[];
}

export interface ReplyDocument {
  time: string[];
  y?: number[];
  x?: number[];
  lat?: number[];
  lon?: number[];
  fields: Record<string, ReplyVariable>;
  series: Record<string, ReplyVariable>;
  sites: Record<string, string | number>[];
  bundle: { name: string; version: string };
}

export function readView(reply: ReplyDocument, specs: readonly Spec[]): View {
  const y = reply.y ?? reply.lat ?? [];
  const x = reply.x ?? reply.lon ?? [];
  const steps = reply.time.length;
  const sites = reply.sites.map((s) => ({ id: String(s["id"]), y: Number(s["y"] ?? s["lat"]), x: Number(s["x"] ?? s["lon"]) }));
  const filled = (part: Record<string, ReplyVariable>, width: number): Variable[] =>
    Object.entries(part)
      .filter(([, variable]) => variable.flag !== undefined)
      .map(([name, variable]) => readVariable(name, variable, steps, width, specs));
  return {
    time: reply.time.map((text) => Date.parse(text) / 1000),
    y,
    x,
    geographic: reply.lat !== undefined,
    sites,
    fields: filled(reply.fields, y.length * x.length),
    series: filled(reply.series, sites.length),
    bundle: reply.bundle,
  };
}

function readVariable(name: string, variable: ReplyVariable, steps: number, width: number, specs: readonly Spec[]): Variable {
  const spec = specs.find((s) => s.name === name);
  const length = steps * width;
  return {
    name,
    label: capitalised((spec?.long_name || name).replaceAll("_", " ")),
    units: variable.units,
    lower: spec?.lower ?? null,
    root: spec?.transform === "sqrt",
    values: flatten(variable.values, new Float32Array(length)),
    std: flatten(variable.std ?? [], new Float32Array(length)),
    flag: flatten(variable.flag ?? [], new Uint8Array(length)),
    width,
  };
}

function flatten<A extends Float32Array | Uint8Array>(nested: unknown[], into: A): A {
  let at = 0;
  const walk = (part: unknown): void => {
    if (Array.isArray(part)) part.forEach(walk);
    else into[at++] = part === null ? Number.NaN : Number(part);
  };
  nested.forEach(walk);
  return into;
}

const capitalised = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

export interface Counts {
  observed: number;
  filled: number;
  outside: number;
  refused: number;
  /** Longest gap in time, in steps. */
  longest: number;
}

export const isGap = (flag: number): boolean => flag === FILLED || flag === REFUSED;

export function countFlags(variable: Variable): Counts {
  const totals = [0, 0, 0, 0];
  let longest = 0;
  const steps = variable.flag.length / variable.width;
  for (let cell = 0; cell < variable.width; cell++) {
    for (let step = 0, run = 0; step < steps; step++) {
      const flag = variable.flag[step * variable.width + cell];
      totals[flag]++;
      run = isGap(flag) ? run + 1 : 0;
      longest = Math.max(longest, run);
    }
  }
  return { observed: totals[OBSERVED], filled: totals[FILLED], outside: totals[OUTSIDE], refused: totals[REFUSED], longest };
}

/** Share of gaps among the cells inside the domain, for each step. */
export function gapShares(variable: Variable): number[] {
  const steps = variable.width > 0 ? variable.flag.length / variable.width : 0;
  return Array.from({ length: steps }, (_, step) => {
    const frame = variable.flag.subarray(step * variable.width, (step + 1) * variable.width);
    let gaps = 0;
    let inside = 0;
    for (const flag of frame) {
      if (flag !== OUTSIDE) inside++;
      if (isGap(flag)) gaps++;
    }
    return inside > 0 ? gaps / inside : 0;
  });
}

/** `1 Oct 2012`, with the hour where steps are shorter than a day. */
export function timeLabels(time: readonly number[]): string[] {
  const daily = time.every((t) => t % 86_400 === time[0] % 86_400);
  const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
  return time.map((t, i) => {
    if (!Number.isFinite(t)) return `step ${i + 1}`;
    const date = new Date(t * 1000);
    return daily ? day.format(date) : `${day.format(date)}, ${date.toISOString().slice(11, 16)}`;
  });
}
