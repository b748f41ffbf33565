// What `zoo demo` puts into the page, as pipelines/publishing/demo.py writes it.

export interface Model {
  name: string;
  family: string;
  height: number; // of its input: the page's, or less
  facts: string; // test accuracy, size and augmentation, in words
  onnx: string; // base64
  expected: (number[] | null)[]; // for each sample Python's probabilities, where the export holds them
  sets: Record<string, number> | null; // coverage, such as "0.95" -> what a label's probability has to reach
  familiarity: number | null; // below which an image is none of these; null where the file doesn't say
  first_layer: { png: string; text: string } | null;
}

export interface Data {
  labels: string[];
  height: number; // and width: of the largest model
  width: number;
  channels: 1 | 3;
  background: number; // 0 or 255: what the samples have along their edges
  largest_image: number; // pixels
  white: number; // of images of 16 bits
  resizing: string; // base64: images [1, H, W, C] uint8 of any size -> [1, height, width, C]
  samples: { png: string; label: string }[];
  models: Model[];
  colors: {
    families: Record<string, string>; // "#RRGGBB"
    positive: string; // evidence for a class
    negative: string; // evidence against it
  };
}

/** The text of a script element that holds data. */
function embedded(id: string): string {
  return document.getElementById(id)?.textContent ?? "";
}

export function readData(): Data {
  return JSON.parse(embedded("data")) as Data;
}

export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  const letters = atob(text.trim());
  const bytes = new Uint8Array(letters.length);
  for (let k = 0; k < letters.length; k++) bytes[k] = letters.charCodeAt(k);
  return bytes;
}

/** onnxruntime's WebAssembly, unpacked. */
export async function readRuntime(): Promise<ArrayBuffer> {
  const packed = new Blob([fromBase64(embedded("runtime"))]).stream();
  return new Response(packed.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}
