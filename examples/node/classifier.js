// An export of Classifier Zoo in Node.js: its file in onnxruntime, its labels, and its samples as a first test.

import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { open, readFile } from "node:fs/promises";
import { basename, join } from "node:path";

import * as onnxruntime from "onnxruntime-node";

import { ImageError, readImage } from "./images.js";

export { ImageError };

const TOLERANCE = 1e-5; // of a probability, as in the verification of exports
const LARGEST_JSON = 4 * 2 ** 20; // bytes
const LARGEST_SAMPLE = 256 * 2 ** 20; // bytes
const LARGEST_MODEL = 2 ** 31 - 1; // bytes, as of any ONNX file

/** No export, a damaged one, or one whose predictions aren't those expected; the message is one sentence. */
export class ExportError extends Error {
  name = "ExportError";
}

/**
 * The classifier of an export's folder, once its predictions for samples/ are those expected.
 *
 * @param {string} folder
 * @param {onnxruntime.InferenceSession.SessionOptions} [options] of onnxruntime, such as {intraOpNumThreads: 1}
 */
export async function load(folder, options = {}) {
  const { metadata, files } = Object(await readJson(folder, "manifest.json"));
  if (metadata?.columns) throw new ExportError(`${folder} classifies the rows of a table, expected one that classifies images`);
  if (!isExport(metadata, files)) throw new ExportError(`${folder}/manifest.json is not a manifest: export the model again`);
  const model = await read(folder, "model.onnx", LARGEST_MODEL);
  const digest = createHash("sha256").update(model).digest("hex");
  if (files.find((file) => file.path === "model.onnx")?.sha256 !== digest) {
    throw new ExportError(`${folder}/model.onnx isn't the file that manifest.json names: export the model again`);
  }
  let session;
  try {
    session = await onnxruntime.InferenceSession.create(model, options);
  } catch (error) {
    throw new ExportError(`${folder}/model.onnx can't be opened (${error.message}): export the model again`);
  }
  const classifier = new Classifier(session, metadata);
  await checkSamples(classifier, folder);
  return classifier;
}

export class Classifier {
  constructor(session, metadata) {
    this.session = session;
    this.metadata = metadata;
    this.labels = metadata.labels;
  }

  /**
   * Label, probability (0..1) and ranking, likeliest first, for one image of any size.
   *
   * @param {string | Buffer} image a path, or the bytes of a JPEG, PNG, WebP, GIF or TIFF
   * @param {{coverage?: number, byClass?: boolean}} [sets] coverage: a share such as 0.95: `labels` then hold the true
   *   one in that share of cases; byClass: in that share of the cases of each class
   * @returns {Promise<{label: string, probability: number, ranking: {label: string, probability: number}[],
   *   labels?: string[], familiarity?: number, known?: boolean}>} familiarity: 0..1, the share of images of the known
   *   classes that look less familiar; known: whether it is one of these, where the export says so
   */
  async predict(image, { coverage, byClass = false } = {}) {
    if (byClass && coverage === undefined) throw new ExportError("byClass requires a coverage, such as 0.95");
    const least = coverage === undefined ? undefined : this.thresholds(coverage, byClass);
    const { probabilities, familiarity } = await this.#run(image, this.#asked);
    const ranking = this.labels
      .map((label, place) => ({ label, probability: probabilities[place] }))
      .sort((one, other) => other.probability - one.probability);
    const prediction = { ...ranking[0], ranking };
    if (familiarity) {
      const share = familiarity[0];
      if (!(Math.abs(share - 0.5) <= 0.5 + TOLERANCE)) {
        throw new ExportError("the export gives a familiarity that isn't from 0 to 1: export the model again");
      }
      const known = share >= this.metadata.familiarity.threshold;
      Object.assign(prediction, { familiarity: Math.min(Math.max(share, 0), 1), known });
    }
    if (!least) return prediction;
    const within = ({ label, probability }, place) => place === 0 || probability >= least[this.labels.indexOf(label)];
    return { ...prediction, labels: ranking.filter(within).map(({ label }) => label) };
  }

  /** What the probability of each label has to reach for it to be in the set, in the order of the labels. */
  thresholds(coverage, byClass) {
    if (!(coverage > 0 && coverage < 1)) throw new ExportError(`coverage is a share such as 0.95, received ${coverage}`);
    const wanted = (Math.ceil(Number((100 * coverage).toFixed(6))) / 100).toFixed(2);
    const { thresholds, by_class } = Object(this.metadata.sets);
    const found = byClass ? by_class?.[wanted] : this.labels.map(() => thresholds?.[wanted]);
    const isThreshold = (value) => typeof value === "number" && value >= 0 && value <= 1;
    const fits = Array.isArray(found) && found.length === this.labels.length && found.every(isThreshold);
    if (!fits) throw new ExportError(`the export gives no sets for a coverage of ${coverage}${byClass ? " by class" : ""}`);
    return found;
  }

  /** The probabilities for one image: Float32Array [K], in the order of the labels. where: what an error calls it. */
  async probabilities(image, where = undefined) {
    return (await this.#run(image, ["probabilities"], where)).probabilities;
  }

  get #asked() {
    const says = typeof Object(this.metadata.familiarity).threshold === "number";
    const has = this.session.outputNames.includes("familiarity");
    return says && has ? ["probabilities", "familiarity"] : ["probabilities"];
  }

  /** The outputs of those names for one image, each as Float32Array. */
  async #run(image, names, where = Buffer.isBuffer(image) ? undefined : image) {
    const { channels, white } = this.metadata;
    const bytes = Buffer.isBuffer(image) ? image : await readImageFile(image);
    const { data, height, width } = await readImage(bytes, channels, where, white);
    const images = new onnxruntime.Tensor("uint8", data, [1, height, width, channels]);
    const found = await this.session.run({ images }, names).catch((error) => {
      throw new ExportError(`the export can't be run (${error.message.split("\n")[0]}): export the model again`);
    });
    return Object.fromEntries(names.map((name) => [name, found[name].data]));
  }
}

async function readImageFile(path) {
  try {
    return await readFile(path);
  } catch (error) {
    throw new ImageError(`${path} can't be read (${error.code})`);
  }
}

async function checkSamples(classifier, folder) {
  const samples = await readJson(folder, "samples/samples.json");
  const whole = Array.isArray(samples) && samples.length > 0;
  if (!whole || !samples.every((sample) => isSample(sample, classifier.labels.length))) {
    throw new ExportError(`${folder}/samples/samples.json holds no samples: export the model again`);
  }
  for (const { file, probabilities } of samples) {
    const name = basename(file);
    const sample = await read(folder, join("samples", name), LARGEST_SAMPLE);
    const found = await classifier.probabilities(sample, join(folder, "samples", name));
    const difference = Math.max(...probabilities.map((expected, place) => Math.abs(found[place] - expected)));
    if (!(difference <= TOLERANCE)) {
      const by = difference.toExponential(1);
      throw new ExportError(
        `${folder} predicts its own sample ${name} differently than expected, by ${by} in probability: ` +
          "export the model again",
      );
    }
  }
}

function isExport(metadata, files) {
  const { labels, channels } = Object(metadata);
  const named = Array.isArray(labels) && labels.length > 0 && labels.every((label) => typeof label === "string");
  return named && [1, 3].includes(channels) && Array.isArray(files) && files.every((file) => file instanceof Object);
}

function isSample(sample, classes) {
  const { file, probabilities } = Object(sample);
  return typeof file === "string" && Array.isArray(probabilities) && probabilities.length === classes;
}

async function readJson(folder, name) {
  const text = await read(folder, name, LARGEST_JSON);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ExportError(`${folder}/${name} can't be read (${error.message}): export the model again`);
  }
}

/** The content of a regular file of at most so many bytes: nothing else is waited for, or read without end. */
async function read(folder, name, most) {
  let file;
  try {
    file = await open(join(folder, name), constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    const found = await file.stat();
    if (!found.isFile()) throw new ExportError(`${folder}/${name} is no regular file: don't use this export`);
    if (found.size > most) throw new ExportError(`${folder}/${name} is larger than ${most} bytes: don't use this export`);
    return await file.readFile();
  } catch (error) {
    if (error instanceof ExportError) throw error;
    throw new ExportError(`${folder}/${name} can't be read (${error.code}): name the folder of an export`);
  } finally {
    await file?.close();
  }
}
