// What a model answers: a label, a set of labels, or none of these, decided as zoo/runtime decides it.

import type { Model } from "./data";
import { likeliest, type Prediction } from "./runtime";

export interface Answer {
  label: string; // the likeliest; of an image that isn't known the nearest
  probability: number;
  known: boolean; // false: it is none of these. True where the file can't say
  familiarity: number | null; // 0..1; null where the file doesn't say
  labels: string[] | null; // that hold the true one in the chosen share of cases, likeliest first; null: no threshold
}

/** labels: of the classes, in the order of the probabilities. coverage: a key of `model.sets`. */
export function answerOf(prediction: Prediction, model: Model, labels: string[], coverage: string): Answer {
  const { probabilities, familiarity } = prediction;
  const first = likeliest(probabilities);
  return {
    label: labels[first]!,
    probability: probabilities[first]!,
    known: familiarity === null || familiarity >= model.familiarity!,
    familiarity,
    labels: setOf(probabilities, model.sets?.[coverage], labels),
  };
}

/** The likeliest is always in it, and equals stay in the order of the labels. */
function setOf(probabilities: number[], threshold: number | undefined, labels: string[]): string[] | null {
  if (threshold === undefined) return null;
  const order = [...labels.keys()].sort((a, b) => probabilities[b]! - probabilities[a]!);
  return order.filter((k, place) => place === 0 || probabilities[k]! >= threshold).map((k) => labels[k]!);
}

/** The coverages that at least one of the models has a threshold for, ascending. */
export function coverages(models: Model[]): string[] {
  return [...new Set(models.flatMap((model) => Object.keys(model.sets ?? {})))].sort();
}

/** "0.95" -> "95%" */
export function inPercent(coverage: string): string {
  return `${Math.round(100 * Number(coverage))}%`;
}

/** Without rounding up to a certainty that no probability has. */
export function percent(share: number): string {
  return share > 0.99 ? `${(100 * Math.min(share, 0.999)).toFixed(1)}%` : `${Math.round(100 * share)}%`;
}

/** To be read out. */
export function sentence({ label, probability, known }: Answer): string {
  return known ? `${label}, ${percent(probability)}.` : `none of these; nearest: ${label}.`;
}
