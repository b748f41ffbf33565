#!/usr/bin/env node
// node classify.js EXPORT IMAGE... [--json]

import { parseArgs } from "node:util";

import { ExportError, load, ImageError } from "./classifier.js";

const { positionals, values } = parseArgs({ allowPositionals: true, options: { json: { type: "boolean" } } });
const [folder, ...images] = positionals;
if (!images.length) {
  console.error("usage: node classify.js EXPORT IMAGE... [--json]");
  process.exit(2);
}
try {
  const classifier = await load(folder);
  for (const image of images) {
    const prediction = await classifier.predict(image);
    const percent = `${(100 * prediction.probability).toFixed(1)}%`;
    console.log(values.json ? JSON.stringify({ image, ...prediction }) : `${image}  ${prediction.label} ${percent}`);
  }
} catch (error) {
  if (!(error instanceof ExportError || error instanceof ImageError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
