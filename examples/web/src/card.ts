// One model's answer. Names come from files that others made: they become text, never markup.

import type { Model } from "./data";
import { contextOf, show, type Picture } from "./picture";
import { likeliest, type Answer } from "./runtime";

const BARS = 10; // more labels than this, and only the likeliest are shown
const LIKELIEST = 5;

export class Card {
  readonly element: HTMLElement;
  readonly short = made("div"); // the answer in three words, for narrow screens
  private readonly verdict = made("p", "verdict");
  private readonly bars = made("ul", "bars");
  private readonly latency = made("dd", "", "…");
  private readonly samples = made("dd", "", "…");
  private readonly map = made("div", "map");
  readonly explain = made("button", "", "Show what it looks at") as HTMLButtonElement;

  constructor(
    model: Model,
    private readonly labels: string[],
  ) {
    const family = ["dense", "conv", "hybrid"].includes(model.family) ? model.family : "";
    this.element = made("article", `card ${family}`);
    this.short.className = family;
    this.short.append(made("span", "", model.name), made("b"), made("span"));
    const title = made("h3", "", model.name);
    const head = made("header");
    head.append(title, made("span", "kind", model.family));
    const figures = made("dl", "figures");
    figures.append(entry("One answer", this.latency), entry("Samples right", this.samples));
    this.explain.type = "button";
    this.explain.setAttribute("aria-pressed", "false");
    this.explain.hidden = true;
    this.map.append(this.explain);
    this.element.append(head, this.verdict, this.bars, figures, this.map, made("p", "facts", model.facts));
    if (model.first_layer) {
      const details = document.createElement("details");
      details.open = matchMedia("(min-width: 40rem)").matches;
      const image = new Image();
      image.src = `data:image/png;base64,${model.first_layer.png}`;
      image.alt = model.first_layer.text;
      details.append(made("summary", "", model.first_layer.text), image);
      this.element.append(details);
    }
  }

  /** truth: the right label, where it is known. */
  show(answer: Answer, truth: string | null, seen: Picture): void {
    this.map.hidden = false;
    const { probabilities } = answer;
    const first = likeliest(probabilities);
    const label = this.labels[first]!;
    const told = document.createElement("small");
    told.append(`${percent(probabilities[first]!)} sure`);
    if (truth !== null) {
      const right = truth === label;
      told.append(", ", made("span", right ? "right" : "wrong", right ? "✓ right" : `✗ it is: ${truth}`));
    }
    this.verdict.replaceChildren(label, told);

    const [, answered, sure] = this.short.children;
    answered!.textContent = label;
    sure!.textContent = `${percent(probabilities[first]!)}${truth === null ? "" : truth === label ? " ✓" : " ✗"}`;

    const order = [...this.labels.keys()];
    const shown = order.length <= BARS ? order : order.sort((a, b) => probabilities[b]! - probabilities[a]!).slice(0, LIKELIEST);
    this.bars.replaceChildren(
      ...shown.map((k) => {
        const row = made("li", k === first ? "first" : "");
        const name = made("span", "label", this.labels[k]!);
        name.title = this.labels[k]!;
        const track = made("span", "track");
        track.setAttribute("aria-hidden", "true");
        const bar = document.createElement("i");
        bar.style.width = `${100 * probabilities[k]!}%`;
        track.append(bar);
        row.append(name, track, made("span", "share", percent(probabilities[k]!)));
        return row;
      }),
    );
    this.showMap(answer, label, seen);
  }

  private showMap({ activation }: Answer, label: string, seen: Picture): void {
    this.map.querySelector("figure")?.remove();
    if (!activation) return;
    const figure = document.createElement("figure");
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `The picture, with what speaks for ${label} in orange`);
    drawMap(canvas, seen, activation);
    figure.append(canvas, made("figcaption", "", `Orange speaks for ${label}, blue against it`));
    this.map.append(figure);
  }

  showLatency(milliseconds: number | null): void {
    this.latency.textContent = milliseconds === null ? "…" : time(milliseconds);
  }

  showSamples(right: number, of: number): void {
    this.samples.textContent = `${right} of ${of}`;
  }

  fail(reason: string): void {
    this.verdict.replaceChildren(made("span", "problem", `This model can’t be used: ${reason}`));
    this.bars.replaceChildren();
    this.latency.textContent = this.samples.textContent = "–";
    this.map.hidden = true;
    const [, answered, sure] = this.short.children;
    answered!.textContent = "can’t be used";
    sure!.textContent = "";
  }
}

/** The picture in grey, and over it where the evidence for a label lies. */
function drawMap(canvas: HTMLCanvasElement, seen: Picture, { values, height, width }: NonNullable<Answer["activation"]>): void {
  const heat = Object.assign(document.createElement("canvas"), { width, height });
  const image = new ImageData(width, height);
  const most = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1;
  values.forEach((value, k) => {
    image.data.set(value > 0 ? [255, 122, 26] : [0, 132, 204], 4 * k);
    image.data[4 * k + 3] = Math.round((190 * Math.abs(value)) / most);
  });
  contextOf(heat).putImageData(image, 0, 0);
  const small = document.createElement("canvas");
  show(seen, small);
  const side = Math.ceil(224 / Math.max(seen.width, seen.height));
  canvas.width = seen.width * side;
  canvas.height = seen.height * side;
  const context = contextOf(canvas);
  context.imageSmoothingEnabled = false;
  context.filter = "grayscale(1)";
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  context.filter = "none";
  context.imageSmoothingEnabled = true;
  context.drawImage(heat, 0, 0, canvas.width, canvas.height);
}

export function made(tag: string, kind = "", text = ""): HTMLElement {
  const element = document.createElement(tag);
  if (kind) element.className = kind;
  element.textContent = text;
  return element;
}

function entry(name: string, value: HTMLElement): HTMLElement {
  const row = document.createElement("div");
  row.append(made("dt", "", name), value);
  return row;
}

/** Without rounding up to a certainty that no probability has. */
export function percent(share: number): string {
  return share > 0.99 ? `${(100 * Math.min(share, 0.999)).toFixed(1)}%` : `${Math.round(100 * share)}%`;
}

function time(milliseconds: number): string {
  return milliseconds < 1 ? `${Math.round(1000 * milliseconds)} µs` : `${milliseconds.toPrecision(2)} ms`;
}
