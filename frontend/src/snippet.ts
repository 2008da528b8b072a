import { type FillQuery, url } from "./api";

/** A Python program that sends the same request with httpx; `name` is null for the built-in sample. */
export function snippet(fill: FillQuery, name: string | null): string {
  const maxGap = fill.maxGap === null ? "" : `, "max_gap": ${fill.maxGap}`;
  const source = name === null ? `httpx.get(${quoted(url("page/sample.nc"))}).content` : `Path(${quoted(name)}).read_bytes()`;
  return `from pathlib import Path

import httpx

reply = httpx.post(
    ${quoted(url("reconstruct"))},
    params={"bundle": ${quoted(fill.bundle)}${maxGap}},
    content=${source},
    headers={"Content-Type": "application/x-netcdf"},
    timeout=300,
)
reply.raise_for_status()
Path(${quoted(filledName(name))}).write_bytes(reply.content)
`;
}

/** `rain.nc` -> `rain-filled.nc` */
export function filledName(name: string | null): string {
  return `${(name ?? "sample.nc").replace(/\.(nc4?|cdf|netcdf|h5)$/i, "")}-filled.nc`;
}

/** A string literal: JSON's escapes are valid in Python. */
const quoted = (text: string): string => JSON.stringify(text);

/** Copies `text`; without a secure connection, by selecting the text in `from`. */
export async function copy(text: string, from: HTMLElement): Promise<boolean> {
  if (navigator.clipboard !== undefined) {
    return navigator.clipboard.writeText(text).then(
      () => true,
      () => copySelection(from),
    );
  }
  return copySelection(from);
}

function copySelection(from: HTMLElement): boolean {
  getSelection()?.selectAllChildren(from);
  return document.execCommand("copy");
}
