// An encoded image -> raw pixels, the same as zoo/images.py decodes.

import sharp from "sharp";

const LARGEST_IMAGE = 64_000_000; // pixels, 8,000 x 8,000: what a few kB can claim to unpack to
const OTHER_NUMBERS = "holds other numbers";
const FORMATS = ["JPEG", "PNG", "WebP", "GIF", "TIFF"];

// Nothing but these decoders ever sees a byte: libvips has others, for SVG and PDF among them.
sharp.block({ operation: ["VipsForeignLoad"] });
sharp.unblock({
  operation: ["Jpeg", "Png", "Webp", "Nsgif", "Tiff"].map((format) => `VipsForeignLoad${format}Buffer`),
});

/** A file that can't be read as an image; the message is one sentence. */
export class ImageError extends Error {
  name = "ImageError";
}

/**
 * Decode one image: upright as EXIF says, on white where it is transparent, the first frame of an animation.
 *
 * @param {Buffer} bytes a JPEG, PNG, WebP, GIF or TIFF
 * @param {1 | 3} channels 1: gray, the luma of ITU-R 601-2; 3: RGB
 * @param {string} [where] what an error calls it
 * @param {number} [white] of a gray image of 16 bits: the value that is white, and all above it
 * @returns {Promise<{data: Uint8Array, height: number, width: number}>} data: [height, width, channels]
 */
export async function readImage(bytes, channels, where = `the image of ${bytes.length} bytes`, white = 65535) {
  try {
    const { pixels, height, width } = await decode(bytes, white);
    return { data: channels === 1 ? gray(pixels) : rgb(pixels), height, width };
  } catch (error) {
    throw new ImageError(`${where} ${problem(error, bytes)}`);
  }
}

/** pixels: upright and opaque, {values: [height, width, channels], channels: 1 | 3} */
async function decode(bytes, white) {
  // No color profile is applied: models are trained on pixels as their files hold them.
  // Stray bytes, which some cameras leave, are no reason to refuse an image; missing ones are.
  const image = sharp(bytes, { failOn: "error", ignoreIcc: true, limitInputPixels: LARGEST_IMAGE }).autoOrient();
  const { space, hasAlpha, depth } = await image.metadata();
  if (depth !== "uchar" && depth !== "ushort") throw new Error(`${OTHER_NUMBERS} (${depth})`);
  const inks = space === "cmyk";
  const deep = space === "grey16" && !hasAlpha;
  if (inks) image.pipelineColourspace("cmyk").toColourspace("cmyk");
  if (deep) image.toColourspace("grey16");
  const { data, info } = await image
    .raw({ depth: deep ? "ushort" : "uchar" })
    .toBuffer({ resolveWithObject: true });
  let pixels = { values: deep ? eightBits(data, white) : data, channels: info.channels };
  if (inks) pixels = withoutInk(pixels);
  else if (hasAlpha) pixels = onWhite(pixels);
  return { pixels, height: info.height, width: info.width };
}

function problem(error, bytes) {
  const reason = error.message.split("\n")[0];
  if (bytes.length === 0) return "is empty (0 bytes): replace it";
  if (/unsupported image format/.test(reason)) return `is not an image: ${FORMATS.join(", ")} are read`;
  if (/pixel limit/.test(reason)) return `is too large, expected at most ${LARGEST_IMAGE} pixels: make it smaller`;
  if (reason.startsWith(OTHER_NUMBERS)) return `${reason}, expected 8 or 16 bits: scale and convert it`;
  return `is damaged, it can't be decoded (${reason}): replace it`;
}

/** 16 bits -> 8, rounded; what is brighter than white is white. */
function eightBits(data, white) {
  const values = new Uint16Array(data.buffer, data.byteOffset, data.length / 2);
  return Uint8Array.from(values, (value) => Math.floor((Math.min(value, white) * 510 + white) / (2 * white)));
}

/** Cyan, magenta, yellow and black -> RGB, multiplied as Pillow does it. */
function withoutInk({ values }) {
  const light = new Uint8Array((values.length / 4) * 3);
  for (let from = 0, to = 0; from < values.length; from += 4) {
    const paper = 255 - values[from + 3];
    for (let ink = 0; ink < 3; ink++) light[to++] = Math.max(paper - by255(values[from + ink] * paper), 0);
  }
  return { values: light, channels: 3 };
}

/** The last channel is how opaque a pixel is; what is transparent lies on white. */
function onWhite({ values, channels }) {
  const opaque = new Uint8Array((values.length / channels) * (channels - 1));
  for (let from = 0, to = 0; from < values.length; from += channels) {
    const alpha = values[from + channels - 1];
    for (let channel = 0; channel < channels - 1; channel++) {
      opaque[to++] = by255(values[from + channel] * alpha + 255 * (255 - alpha));
    }
  }
  return { values: opaque, channels: channels - 1 };
}

function by255(value) {
  return Math.round(value / 255);
}

/** The luma of ITU-R 601-2, in the whole numbers that Pillow computes it with. */
function gray({ values, channels }) {
  if (channels === 1) return values;
  const luma = new Uint8Array(values.length / 3);
  for (let to = 0; to < luma.length; to++) {
    const [red, green, blue] = [values[3 * to], values[3 * to + 1], values[3 * to + 2]];
    luma[to] = (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16;
  }
  return luma;
}

function rgb({ values, channels }) {
  if (channels === 3) return values;
  const equal = new Uint8Array(values.length * 3);
  values.forEach((value, from) => equal.fill(value, 3 * from, 3 * from + 3));
  return equal;
}
