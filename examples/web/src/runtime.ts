// The exported files in onnxruntime-web, one at a time: its WebAssembly has one thread here.

import * as ort from "onnxruntime-web";
import { fromBase64, readRuntime, type Data, type Model } from "./data";
import type { RawImage } from "./image";

declare const WEBGPU: boolean; // whether the runtime in the page knows the graphics card, set by the build

export type Provider = "wasm" | "webgpu";
export interface Prediction {
  probabilities: number[];
  familiarity: number | null; // 0..1, where the file says
  activation: { values: Float32Array; height: number; width: number } | null; // of the likeliest class
}

const ROUNDS = 9; // of runs whose median is reported
const ROUND = 12; // milliseconds that a round takes at least: clocks of browsers tick once a millisecond
const PATIENCE = 1500; // milliseconds for all rounds
const ROUNDED = 1e-5; // of a share

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
    const classifier = new Classifier(model, await open(model.onnx, provider));
    if (model.familiarity === null || classifier.has("familiarity")) return classifier;
    await classifier.close();
    throw new Error("its file has no familiarity, though it says so");
  }

  get hasActivationMap(): boolean {
    return this.has("activation_map");
  }

  private has(output: string): boolean {
    return this.session.outputNames.includes(output);
  }

  /** Predictions for images of one size; with the activation maps of their likeliest classes on demand. */
  async predict(images: RawImage[], withMap = false): Promise<Prediction[]> {
    const names = ["probabilities"];
    if (this.model.familiarity !== null) names.push("familiarity");
    if (withMap && this.hasActivationMap) names.push("activation_map");
    const found = await alone(() => this.session.run({ images: tensorOf(images) }, names));
    const rows = found["probabilities"]!;
    const classes = rows.dims[1]!;
    const data = rows.data as Float32Array;
    return images.map((_, n) => {
      const probabilities = Array.from(data.subarray(n * classes, (n + 1) * classes));
      const familiarity = found["familiarity"] ? shareOf((found["familiarity"].data as Float32Array)[n]!) : null;
      const map = found["activation_map"];
      if (!map) return { probabilities, familiarity, activation: null };
      const [height, width] = [map.dims[2]!, map.dims[3]!];
      const begin = (n * classes + likeliest(probabilities)) * height * width;
      const values = (map.data as Float32Array).slice(begin, begin + height * width);
      return { probabilities, familiarity, activation: { values, height, width } };
    });
  }

  close(): Promise<void> {
    return alone(() => this.session.release());
  }
}

/** Resizes an image to the model's size by the very operations that are in the exported files. */
export class Resizer {
  private constructor(
    private readonly data: Data,
    private readonly session: ort.InferenceSession,
  ) {}

  static async open(data: Data): Promise<Resizer> {
    return new Resizer(data, await open(data.resizing, "wasm"));
  }

  async resize(image: RawImage): Promise<RawImage> {
    const { height, width } = this.data;
    if (image.height === height && image.width === width) return image;
    const found = await alone(() => this.session.run({ images: tensorOf([image]) }));
    const pixels = new Uint8Array(Object.values(found)[0]!.data as Uint8Array);
    return { ...image, pixels, height, width };
  }
}

/** Latency of each for the image, milliseconds: the median of rounds taken in turns; null where `stopped` says so. */
export async function measure(
  classifiers: Classifier[],
  image: RawImage,
  stopped: () => boolean,
): Promise<number[] | null> {
  const runs: number[] = [];
  for (const classifier of classifiers) {
    const first = await timed(classifier, image, 1); // it also warms up
    await breath();
    if (stopped()) return null;
    runs.push(first > ROUND ? 1 : Math.ceil(ROUND / Math.max(await timed(classifier, image, 5), 0.01)));
  }
  const taken: number[][] = classifiers.map(() => []);
  const began = performance.now();
  for (let round = 0; round < ROUNDS && (round < 3 || performance.now() - began < PATIENCE); round++) {
    for (const [k, classifier] of classifiers.entries()) {
      if (stopped()) return null;
      taken[k]!.push(await timed(classifier, image, runs[k]!));
      await breath();
    }
  }
  return taken.map((times) => times.sort((a, b) => a - b)[times.length >> 1]!);
}

/** What the reader does comes first. */
function breath(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve));
}

/** Milliseconds a run. */
async function timed(classifier: Classifier, image: RawImage, runs: number): Promise<number> {
  const began = performance.now();
  for (let k = 0; k < runs; k++) await classifier.predict([image]);
  return (performance.now() - began) / runs;
}

function shareOf(familiarity: number): number {
  if (!(Math.abs(familiarity - 0.5) <= 0.5 + ROUNDED)) throw new Error("its familiarity isn’t from 0 to 1");
  return Math.min(Math.max(familiarity, 0), 1);
}

export function likeliest(probabilities: number[]): number {
  return probabilities.indexOf(Math.max(...probabilities));
}

function open(base64: string, provider: Provider): Promise<ort.InferenceSession> {
  return alone(() => ort.InferenceSession.create(fromBase64(base64), { executionProviders: [provider] }));
}

function tensorOf(images: RawImage[]): ort.Tensor {
  const { height, width, channels, pixels } = images[0]!;
  const values = new Uint8Array(images.length * pixels.length);
  images.forEach((image, n) => values.set(image.pixels, n * pixels.length));
  return new ort.Tensor("uint8", values, [images.length, height, width, channels]);
}

let before: Promise<unknown> = Promise.resolve();

/** One after the other: onnxruntime-web can't do two things at once. */
function alone<T>(task: () => Promise<T>): Promise<T> {
  const result = before.then(task);
  before = result.catch(() => undefined);
  return result;
}
