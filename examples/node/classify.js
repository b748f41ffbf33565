#!/usr/bin/env node
// node classify.js EXPORT PICTURE... [--json]

import { parseArgs } from "node:util";

import { ExportError, load, PictureError } from "./classifier.js";

const { positionals, values } = parseArgs({ allowPositionals: true, options: { json: { type: "boolean" } } });
const [folder, ...pictures] = positionals;
if (!pictures.length) {
  console.error("usage: node classify.js EXPORT PICTURE... [--json]");
  process.exit(2);
}
try {
  const classifier = await load(folder);
  for (const picture of pictures) {
    const prediction = await classifier.predict(picture);
    const percent = `${(100 * prediction.probability).toFixed(1)}%`;
    console.log(values.json ? JSON.stringify({ picture, ...prediction }) : `${picture}  ${prediction.label} ${percent}`);
  }
} catch (error) {
  if (!(error instanceof ExportError || error instanceof PictureError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
