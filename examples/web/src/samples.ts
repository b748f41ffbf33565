// The samples of the test set, a button each.

import { fromBase64, type Data } from "./data";
import { byId, made, press } from "./dom";
import { readImage, type RawImage } from "./image";
import type { Resizer } from "./runtime";

export interface Sample {
  image: RawImage; // as it is
  sized: RawImage; // at the size of the largest model
  label: string;
}

/** Read the samples, and add their buttons to the page: each calls `choose` with its sample's place. */
export async function readSamples(data: Data, resizer: Resizer, choose: (place: number) => void): Promise<Sample[]> {
  const samples: Sample[] = [];
  for (const [place, { png, label }] of data.samples.entries()) {
    const blob = new Blob([fromBase64(png)], { type: "image/png" });
    const { image } = await readImage(blob, label, data.channels, data.largest_image, data.white);
    samples.push({ image, sized: await resizer.resize(image), label });
    const button = made("button") as HTMLButtonElement;
    button.type = "button";
    press(button, false);
    const thumbnail = new Image();
    thumbnail.src = `data:image/png;base64,${png}`;
    thumbnail.alt = label;
    button.title = label;
    button.append(thumbnail);
    button.onclick = () => choose(place);
    byId("samples").append(button);
  }
  return samples;
}

/** Of the samples that one is chosen; none for -1. */
export function mark(place: number): void {
  [...byId("samples").children].forEach((button, k) => press(button, k === place));
}
