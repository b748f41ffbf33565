#!/usr/bin/env node
// node classify.js EXPORT IMAGE... [--json] [--coverage SHARE [--by-class]]

import { parseArgs } from "node:util";

import { ExportError, load, ImageError } from "./classifier.js";

const USAGE = "usage: node classify.js EXPORT IMAGE... [--json] [--coverage SHARE [--by-class]]";
const options = { json: { type: "boolean" }, coverage: { type: "string" }, "by-class": { type: "boolean" } };
const { positionals, values } = parsed();
const [folder, ...images] = positionals;
if (!images.length) leave();
try {
  const classifier = await load(folder);
  for (const image of images) {
    const coverage = values.coverage === undefined ? undefined : Number(values.coverage);
    const prediction = await classifier.predict(image, { coverage, byClass: values["by-class"] });
    const percent = `${(100 * prediction.probability).toFixed(1)}%`;
    const text = prediction.labels?.join(", ") ?? `${prediction.label} ${percent}`;
    const answer = prediction.known === false ? `none of these; nearest: ${text}` : text;
    console.log(values.json ? JSON.stringify({ image, ...prediction }) : `${image}  ${answer}`);
  }
} catch (error) {
  if (!(error instanceof ExportError || error instanceof ImageError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}

function parsed() {
  try {
    return parseArgs({ allowPositionals: true, options });
  } catch (error) {
    return leave(error.message);
  }
}

function leave(...reasons) {
  console.error([...reasons, USAGE].join("\n"));
  process.exit(2);
}
