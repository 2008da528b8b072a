import { CIVIDIS, VIRIDIS } from "./tables";

/** 256 colours as canvas pixels, 0xAABBGGRR. */
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
export const STD_PALETTE = parse(CIVIDIS);

/** The value of a custom property of the style sheet in the current colour scheme. */
export function themed(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Calls `redraw` when the reader's system changes between light and dark. */
export function onThemeChange(redraw: () => void): void {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}
