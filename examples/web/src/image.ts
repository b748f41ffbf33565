// From a file to raw pixels, as zoo/images.py decodes it: upright, transparency on white, gray as luma. The exported
// file does the rest.

export interface RawImage {
  pixels: Uint8Array<ArrayBuffer>; // [height, width, channels]
  height: number;
  width: number;
  channels: 1 | 3;
}

/** One sentence for the reader of the page. */
export class ImageError extends Error {}

const WHITE = 65535; // of images that use all 16 bits
// Safari gives canvases no more on a phone; larger images are reduced first, and the page says so.
const LARGEST_CANVAS = 16_000_000;

/** Decode a file that the browser can read. Raises ImageError for another one, and for one of too many pixels. */
export async function readImage(
  file: Blob,
  name: string,
  channels: 1 | 3,
  most: number,
  white: number,
): Promise<{ image: RawImage; note: string }> {
  if (!file.size) throw new ImageError(`${name} is empty (0 bytes): choose another image.`);
  const unreadable = new ImageError(
    `${name} is not an image that this browser can read${file.type && ` (${file.type})`}: choose a JPEG, PNG, WebP or GIF.`,
  );
  const [width, height] = await sizeOf(file).catch(() => {
    throw unreadable;
  });
  if (!width || !height) throw unreadable;
  if (width * height > most) {
    throw new ImageError(
      `${name} is too large, ${count(width)} × ${count(height)} pixels: make it smaller, at most ${count(most)} are read.`,
    );
  }
  if (white !== WHITE && (await isDeep(file))) {
    throw new ImageError(
      `${name} is a 16-bit image, of which browsers provide only the upper 8 bits: scale it so that ${count(white)} becomes 255, and save it with 8 bits.`,
    );
  }
  const share = Math.min(1, Math.sqrt(LARGEST_CANVAS / (width * height)));
  const size = { width: Math.floor(width * share), height: Math.floor(height * share) };
  const bitmap = await createImageBitmap(file, {
    premultiplyAlpha: "none",
    colorSpaceConversion: "none",
    ...(share < 1 && { resizeWidth: size.width, resizeHeight: size.height, resizeQuality: "high" }),
  }).catch(() => {
    throw unreadable;
  });
  const context = contextOf(Object.assign(document.createElement("canvas"), size));
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const image = fromCanvas(context, channels);
  const note = `${name}, ${count(width)} × ${count(height)} pixels`;
  return { image, note: share < 1 ? `${note}, reduced to ${count(size.width)} × ${count(size.height)} first` : note };
}

/** Whether it is a gray PNG of 16 bits, as cameras and scanners write them with fewer. */
async function isDeep(file: Blob): Promise<boolean> {
  const head = new Uint8Array(await file.slice(0, 26).arrayBuffer());
  return head[1] === 0x50 && head[24] === 16 && head[25] === 0; // "P" of PNG; bits; gray
}

/** Only the head of the file is read for this: browsers decode the rest when a image is drawn. */
async function sizeOf(file: Blob): Promise<[number, number]> {
  const address = URL.createObjectURL(file);
  try {
    const image = new Image();
    await new Promise((resolve, reject) => {
      image.onload = resolve;
      image.onerror = reject;
      image.src = address;
    });
    return [image.naturalWidth, image.naturalHeight];
  } finally {
    URL.revokeObjectURL(address);
  }
}

export function contextOf(canvas: HTMLCanvasElement): CanvasRenderingContext2D {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new ImageError("This browser gives the page no canvas to read images with.");
  return context;
}

export function fromCanvas(context: CanvasRenderingContext2D, channels: 1 | 3): RawImage {
  const { width, height } = context.canvas;
  const { data } = context.getImageData(0, 0, width, height);
  const pixels = new Uint8Array(width * height * channels);
  for (let from = 0, to = 0; from < data.length; from += 4, to += channels) {
    const alpha = data[from + 3]!;
    const white = 255 * (255 - alpha);
    const red = Math.round((data[from]! * alpha + white) / 255);
    const green = Math.round((data[from + 1]! * alpha + white) / 255);
    const blue = Math.round((data[from + 2]! * alpha + white) / 255);
    if (channels === 1) {
      pixels[to] = (red * 19595 + green * 38470 + blue * 7471 + 32768) >> 16; // Pillow's luma, ITU-R 601-2
    } else {
      pixels[to] = red;
      pixels[to + 1] = green;
      pixels[to + 2] = blue;
    }
  }
  return { pixels, height, width, channels };
}

export function show(image: RawImage, canvas: HTMLCanvasElement): void {
  canvas.width = image.width;
  canvas.height = image.height;
  const shown = new ImageData(image.width, image.height);
  const { pixels, channels } = image;
  for (let from = 0, to = 0; to < shown.data.length; from += channels, to += 4) {
    for (let c = 0; c < 3; c++) shown.data[to + c] = pixels[from + (channels === 3 ? c : 0)]!;
    shown.data[to + 3] = 255;
  }
  contextOf(canvas).putImageData(shown, 0, 0);
}

const count = (number: number): string => number.toLocaleString("en");
