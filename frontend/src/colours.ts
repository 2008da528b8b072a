import { CIVIDIS, VIRIDIS } from "./tables";

/** 256 colours as the bytes of canvas pixels, 0xAABBGGRR. */
export type Palette = Uint32Array;

function parse(table: string): Palette {
  const palette = new Uint32Array(256);
  for (let i = 0; i < 256; i++) {
    const rgb = Number.parseInt(table.slice(6 * i, 6 * i + 6), 16);
    palette[i] = (0xff000000 | ((rgb & 0xff) << 16) | (rgb & 0xff00) | (rgb >> 16)) >>> 0;
  }
  return palette;
}

export const FIELD_PALETTE = parse(VIRIDIS);
export const SPREAD_PALETTE = parse(CIVIDIS);

/** A custom property of the style sheet, which knows light and dark. */
export function themed(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Calls `redraw` when the reader's system turns dark or light. */
export function onThemeChange(redraw: () => void): void {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}
