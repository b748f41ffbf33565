// Opens the models, each checked against Python on the samples before it is used.

import type { Model } from "./data";
import { reasonOf } from "./dom";
import type { RawImage } from "./image";
import { Classifier, type Provider } from "./runtime";

const TOLERANCE: Record<Provider, number> = { wasm: 1e-4, webgpu: 1e-3 }; // of a probability, from Python's

export interface Opened {
  classifiers: (Classifier | null)[]; // null for a model that can't be used
  problems: string[]; // a model each; "" for none
  largest: number; // difference of a probability from Python's
  compared: number; // models that have samples
  matching: number; // of these
}

/** images: those of the samples, in the order of each model's `expected`. */
export async function openAll(models: Model[], images: RawImage[], provider: Provider): Promise<Opened> {
  const opened: Opened = { classifiers: [], problems: [], largest: 0, compared: 0, matching: 0 };
  for (const model of models) {
    const isCompared = model.expected.some(Boolean);
    if (isCompared) opened.compared++;
    let problem = "";
    let classifier: Classifier | null = null;
    try {
      classifier = await Classifier.open(model, provider);
      for (const [k, image] of images.entries()) {
        const expected = model.expected[k];
        if (!expected) continue;
        const [prediction] = await classifier.predict([image]);
        const difference = Math.max(...expected.map((value, c) => Math.abs(value - prediction!.probabilities[c]!)));
        if (!(difference <= TOLERANCE[provider])) {
          throw new Error(`its predictions don’t match Python’s, a probability differs by ${difference.toPrecision(2)}`);
        }
        opened.largest = Math.max(opened.largest, difference);
      }
      if (isCompared) opened.matching++;
    } catch (error) {
      problem = reasonOf(error);
      await classifier?.close().catch(() => undefined);
      classifier = null;
    }
    opened.classifiers.push(classifier);
    opened.problems.push(problem);
  }
  return opened;
}
