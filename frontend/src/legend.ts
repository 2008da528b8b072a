import type { Palette } from "./colours";
import { type Scale, format, position, ticks } from "./scale";

/** Draws a colour bar with its ticks into `box`, which holds a canvas and a list for the labels. */
export function drawLegend(box: HTMLElement, scale: Scale, palette: Palette): void {
  const canvas = box.querySelector("canvas") as HTMLCanvasElement;
  canvas.width = 256;
  canvas.height = 1;
  const image = new ImageData(256, 1);
  new Uint32Array(image.data.buffer).set(palette);
  canvas.getContext("2d")?.putImageData(image, 0, 0);
  const labels = box.querySelector(".ticks") as HTMLElement;
  const room = Math.max(2, Math.min(6, Math.floor(box.clientWidth / 52)));
  const marks = ticks(scale, room).map((value) => ({ value, at: position(scale, value) }));
  const spaced = marks.filter((mark, i) => i === 0 || mark.at - marks[i - 1].at > 0.06);
  labels.replaceChildren(
    ...spaced.map(({ value, at }) => {
      const label = document.createElement("span");
      label.textContent = format(value);
      label.style.left = `${100 * at}%`;
      if (at < 0.04) label.className = "first";
      if (at > 0.96) label.className = "last";
      return label;
    }),
  );
}
