// What the sliders do to an image of the model's size.

import type { RawImage } from "./image";

export interface Settings {
  right: number; // pixels
  down: number; // pixels
  scale: number; // times
  rotate: number; // degrees, clockwise
  scramble: number; // place in `blocks`; 0: not at all
}

export const NEUTRAL: Readonly<Settings> = { right: 0, down: 0, scale: 1, rotate: 0, scramble: 0 };

export function isNeutral(settings: Settings): boolean {
  return (Object.keys(NEUTRAL) as (keyof Settings)[]).every((name) => settings[name] === NEUTRAL[name]);
}

export function transformed(image: RawImage, settings: Settings): RawImage {
  const { right, down, scale, rotate, scramble } = settings;
  const moved = right || down || scale !== 1 || rotate ? move(image, right, down, scale, rotate) : image;
  return scramble ? scrambled(moved, blocks(image.height, image.width)[scramble]!) : moved;
}

/** Shifted, scaled and rotated around its center, bilinearly; its edge fills what is uncovered, as in training. */
function move(image: RawImage, right: number, down: number, scale: number, rotate: number): RawImage {
  const { height, width, channels, pixels } = image;
  const result = new Uint8Array(pixels.length);
  const cosine = Math.cos((rotate * Math.PI) / 180) / scale;
  const sine = Math.sin((rotate * Math.PI) / 180) / scale;
  const [middleX, middleY] = [(width - 1) / 2, (height - 1) / 2];
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [u, v] = [x - middleX - right, y - middleY - down];
      const fromX = clamp(cosine * u + sine * v + middleX, width - 1);
      const fromY = clamp(cosine * v - sine * u + middleY, height - 1);
      const [x0, y0] = [Math.floor(fromX), Math.floor(fromY)];
      const [x1, y1] = [Math.min(x0 + 1, width - 1), Math.min(y0 + 1, height - 1)];
      const [shareX, shareY] = [fromX - x0, fromY - y0];
      for (let c = 0; c < channels; c++, to++) {
        const at = (row: number, column: number): number => pixels[(row * width + column) * channels + c]!;
        const above = at(y0, x0) * (1 - shareX) + at(y0, x1) * shareX;
        const below = at(y1, x0) * (1 - shareX) + at(y1, x1) * shareX;
        result[to] = Math.round(above * (1 - shareY) + below * shareY);
      }
    }
  }
  return { ...image, pixels: result };
}

/** Sides of the blocks within which pixels are scrambled, from none by those that divide both sides to the whole. */
export function blocks(height: number, width: number): number[] {
  const found = [1];
  for (let side = 2; side < Math.max(height, width); side++) {
    if (height % side === 0 && width % side === 0) found.push(side);
  }
  return [...found, Math.max(height, width)];
}

/** One fixed permutation of the pixels, in which none leaves its block: the same for every image. */
export function scrambled(image: RawImage, block: number): RawImage {
  const { height, width, channels, pixels } = image;
  const result = new Uint8Array(pixels.length);
  permutation(height, width, block).forEach((from, to) => {
    for (let c = 0; c < channels; c++) result[to * channels + c] = pixels[from * channels + c]!;
  });
  return { ...image, pixels: result };
}

const known = new Map<string, Uint32Array>();

/** For each place the one that its pixel comes from: the pixels of a block, in the order of their shuffled numbers. */
function permutation(height: number, width: number, block: number): Uint32Array {
  const name = `${height} ${width} ${block}`;
  let found = known.get(name);
  if (!found) {
    found = new Uint32Array(height * width);
    for (let top = 0; top < height; top += block) {
      for (let left = 0; left < width; left += block) {
        const places: number[] = [];
        for (let y = top; y < Math.min(top + block, height); y++) {
          for (let x = left; x < Math.min(left + block, width); x++) places.push(y * width + x);
        }
        const order = [...places].sort((a, b) => shuffled(a) - shuffled(b));
        for (const [k, to] of places.entries()) found[to] = order[k]!;
      }
    }
    known.set(name, found);
  }
  return found;
}

/** The finalizer of MurmurHash3: each number gets another one of its own, in an order that looks like chance. */
function shuffled(place: number): number {
  let h = place ^ (place >>> 16);
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

export function inverted(image: RawImage): RawImage {
  return { ...image, pixels: image.pixels.map((value) => 255 - value) };
}

const clamp = (value: number, most: number): number => Math.min(Math.max(value, 0), most);
