// The sliders: the range of each, and its value in words.

import { blocks, NEUTRAL, type Settings } from "./transform";

const FAR = 1 / 3; // of the side, that an image can be shifted

interface Slider {
  least: number;
  most: number;
  step: number;
  words(value: number): string;
}

/** Set the page's sliders up: they write into `settings`, and call `changed`. Returns what puts them all back. */
export function sliders(size: { height: number; width: number }, settings: Settings, changed: () => void): () => void {
  const sides = blocks(size.height, size.width);
  const whole = sides.length - 1;
  const shift = (side: number, more: string, less: string): Slider => {
    const most = Math.max(1, Math.round(side * FAR));
    const words = (value: number): string => {
      const count = Math.abs(value);
      return count ? `${count} pixel${count > 1 ? "s" : ""} ${value > 0 ? more : less}` : "not shifted";
    };
    return { least: -most, most, step: 1, words };
  };
  const all: Record<keyof Settings, Slider> = {
    right: shift(size.width, "right", "left"),
    down: shift(size.height, "down", "up"),
    scale: { least: 0.5, most: 1.6, step: 0.05, words: (x) => (x === 1 ? "as it is" : `${x.toFixed(2)} times`) },
    rotate: { least: -180, most: 180, step: 5, words: (x) => (x ? `${Math.abs(x)}° ${x > 0 ? "right" : "left"}` : "upright") },
    scramble: {
      least: 0,
      most: whole,
      step: 1,
      words: (x) => (!x ? "off" : x === whole ? "whole image" : `${sides[x]} × ${sides[x]} blocks`),
    },
  };
  const put = (Object.keys(all) as (keyof Settings)[]).map((name) => {
    const input = document.getElementById(name) as HTMLInputElement;
    const output = input.nextElementSibling as HTMLOutputElement;
    const { least, most, step, words } = all[name];
    Object.assign(input, { min: String(least), max: String(most), step: String(step) });
    const set = (value: number): void => {
      settings[name] = value;
      input.value = String(value);
      output.value = words(value);
      input.setAttribute("aria-valuetext", output.value);
    };
    input.oninput = () => {
      set(Number(input.value));
      changed();
    };
    set(NEUTRAL[name]);
    return () => set(NEUTRAL[name]);
  });
  return () => {
    put.forEach((back) => back());
    changed();
  };
}
