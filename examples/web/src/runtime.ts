// The exported files in onnxruntime-web, one at a time: its WebAssembly has one thread here.

import * as ort from "onnxruntime-web";
import { fromBase64, readRuntime, type Data, type Model } from "./data";
import type { Picture } from "./picture";

declare const WEBGPU: boolean; // whether the runtime in the page knows the graphics card, set by the build

export type Provider = "wasm" | "webgpu";
export interface Answer {
  probabilities: number[];
  activation: { values: Float32Array; height: number; width: number } | null; // of the likeliest class
}

const ROUNDS = 9; // of runs whose median is told
const ROUND = 12; // milliseconds that a round takes at least: clocks of browsers tick once a millisecond
const PATIENCE = 1500; // milliseconds for all rounds

/** Unpack and set up onnxruntime. Raises Error, in words for the reader, where the browser lacks what it needs. */
export async function start(): Promise<void> {
  if (typeof WebAssembly !== "object") {
    throw new Error("This browser has no WebAssembly, or it is switched off: open the page in another one.");
  }
  if (typeof DecompressionStream !== "function") {
    throw new Error("This browser is too old for the page (it has no DecompressionStream): open it in a newer one.");
  }
  ort.env.wasm.numThreads = 1; // more need headers that a file in a folder doesn't have
  ort.env.wasm.wasmBinary = await readRuntime();
  ort.env.logLevel = "error";
}

/** The providers of this page in this browser, the best last. */
export async function providers(): Promise<Provider[]> {
  if (!WEBGPU) return ["wasm"];
  const graphics = (navigator as { gpu?: { requestAdapter(): Promise<unknown> } }).gpu;
  const adapter = await graphics?.requestAdapter().catch(() => null);
  return adapter ? ["wasm", "webgpu"] : ["wasm"];
}

export class Classifier {
  private constructor(
    readonly model: Model,
    private readonly session: ort.InferenceSession,
  ) {}

  static async open(model: Model, provider: Provider): Promise<Classifier> {
    return new Classifier(model, await open(model.onnx, provider));
  }

  get explains(): boolean {
    return this.session.outputNames.includes("activation_map");
  }

  /** Answers for pictures of one size; with the activation map of the first one's likeliest class on demand. */
  async answer(pictures: Picture[], explain = false): Promise<Answer[]> {
    const names = explain && this.explains ? ["probabilities", "activation_map"] : ["probabilities"];
    const found = await alone(() => this.session.run({ images: tensorOf(pictures) }, names));
    const rows = found["probabilities"]!;
    const classes = rows.dims[1]!;
    const data = rows.data as Float32Array;
    return pictures.map((_, n) => {
      const probabilities = Array.from(data.subarray(n * classes, (n + 1) * classes));
      const map = found["activation_map"];
      if (!map) return { probabilities, activation: null };
      const [height, width] = [map.dims[2]!, map.dims[3]!];
      const begin = (n * classes + likeliest(probabilities)) * height * width;
      const values = (map.data as Float32Array).slice(begin, begin + height * width);
      return { probabilities, activation: { values, height, width } };
    });
  }

  close(): Promise<void> {
    return alone(() => this.session.release());
  }
}

/** Brings a picture to the model's size by the very operations that the exported files do it with. */
export class Resizer {
  private constructor(
    private readonly data: Data,
    private readonly session: ort.InferenceSession,
  ) {}

  static async open(data: Data): Promise<Resizer> {
    return new Resizer(data, await open(data.resizing, "wasm"));
  }

  async resize(picture: Picture): Promise<Picture> {
    const { height, width } = this.data;
    if (picture.height === height && picture.width === width) return picture;
    const found = await alone(() => this.session.run({ images: tensorOf([picture]) }));
    const pixels = new Uint8Array(Object.values(found)[0]!.data as Uint8Array);
    return { ...picture, pixels, height, width };
  }
}

/** Milliseconds that each takes for the picture, the median of rounds taken in turns; null where `stopped` says so. */
export async function measure(
  classifiers: Classifier[],
  picture: Picture,
  stopped: () => boolean,
): Promise<number[] | null> {
  const runs: number[] = [];
  for (const classifier of classifiers) {
    await timed(classifier, picture, 1); // warm
    runs.push(Math.ceil(ROUND / Math.max(await timed(classifier, picture, 5), 0.01)));
  }
  const taken: number[][] = classifiers.map(() => []);
  const began = performance.now();
  for (let round = 0; round < ROUNDS && (round < 3 || performance.now() - began < PATIENCE); round++) {
    for (const [k, classifier] of classifiers.entries()) {
      if (stopped()) return null;
      taken[k]!.push(await timed(classifier, picture, runs[k]!));
      await new Promise((resolve) => setTimeout(resolve)); // the page stays responsive
    }
  }
  return taken.map((times) => times.sort((a, b) => a - b)[times.length >> 1]!);
}

/** Milliseconds a run. */
async function timed(classifier: Classifier, picture: Picture, runs: number): Promise<number> {
  const began = performance.now();
  for (let k = 0; k < runs; k++) await classifier.answer([picture]);
  return (performance.now() - began) / runs;
}

export function likeliest(probabilities: number[]): number {
  return probabilities.indexOf(Math.max(...probabilities));
}

function open(base64: string, provider: Provider): Promise<ort.InferenceSession> {
  return alone(() => ort.InferenceSession.create(fromBase64(base64), { executionProviders: [provider] }));
}

function tensorOf(pictures: Picture[]): ort.Tensor {
  const { height, width, channels, pixels } = pictures[0]!;
  const values = new Uint8Array(pictures.length * pixels.length);
  pictures.forEach((picture, n) => values.set(picture.pixels, n * pixels.length));
  return new ort.Tensor("uint8", values, [pictures.length, height, width, channels]);
}

let before: Promise<unknown> = Promise.resolve();

/** One after the other: onnxruntime-web can't do two things at once. */
function alone<T>(task: () => Promise<T>): Promise<T> {
  const result = before.then(task);
  before = result.catch(() => undefined);
  return result;
}
