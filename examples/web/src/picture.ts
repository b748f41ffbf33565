// From a file to raw pixels, as zoo/pictures.py does it: upright, what is transparent on white, grey as luma. The
// exported file does the rest.

export interface Picture {
  pixels: Uint8Array<ArrayBuffer>; // [height, width, channels]
  height: number;
  width: number;
  channels: 1 | 3;
}

/** One sentence for the reader of the page. */
export class PictureError extends Error {}

// Safari gives canvases no more on a phone; what is larger is reduced first, and told.
const LARGEST_CANVAS = 16_000_000;

/** Decode a file that the browser can read. Raises PictureError for another one, and for one of too many pixels. */
export async function readPicture(
  file: Blob,
  name: string,
  channels: 1 | 3,
  most: number,
): Promise<{ picture: Picture; note: string }> {
  if (!file.size) throw new PictureError(`${name} is empty (0 bytes): choose another picture.`);
  const unreadable = new PictureError(
    `${name} is not a picture that this browser can read${file.type && ` (${file.type})`}: choose a JPEG, PNG, WebP or GIF.`,
  );
  const [width, height] = await sizeOf(file).catch(() => {
    throw unreadable;
  });
  if (!width || !height) throw unreadable;
  if (width * height > most) {
    throw new PictureError(
      `${name} is too large, ${count(width)} × ${count(height)} pixels: make it smaller, at most ${count(most)} are read.`,
    );
  }
  const share = Math.min(1, Math.sqrt(LARGEST_CANVAS / (width * height)));
  const size = { width: Math.floor(width * share), height: Math.floor(height * share) };
  const image = await createImageBitmap(file, {
    premultiplyAlpha: "none",
    colorSpaceConversion: "none",
    ...(share < 1 && { resizeWidth: size.width, resizeHeight: size.height, resizeQuality: "high" }),
  }).catch(() => {
    throw unreadable;
  });
  const context = contextOf(Object.assign(document.createElement("canvas"), size));
  context.drawImage(image, 0, 0);
  image.close();
  const picture = fromCanvas(context, channels);
  const told = `${name}, ${count(width)} × ${count(height)} pixels`;
  return { picture, note: share < 1 ? `${told}, reduced to ${count(size.width)} × ${count(size.height)} first` : told };
}

/** Only the head of the file is read for this: browsers decode the rest when a picture is drawn. */
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
  if (!context) throw new PictureError("This browser gives the page no canvas to read pictures with.");
  return context;
}

export function fromCanvas(context: CanvasRenderingContext2D, channels: 1 | 3): Picture {
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

export function show(picture: Picture, canvas: HTMLCanvasElement): void {
  canvas.width = picture.width;
  canvas.height = picture.height;
  const image = new ImageData(picture.width, picture.height);
  const { pixels, channels } = picture;
  for (let from = 0, to = 0; to < image.data.length; from += channels, to += 4) {
    for (let c = 0; c < 3; c++) image.data[to + c] = pixels[from + (channels === 3 ? c : 0)]!;
    image.data[to + 3] = 255;
  }
  contextOf(canvas).putImageData(image, 0, 0);
}

const count = (number: number): string => number.toLocaleString("en");
