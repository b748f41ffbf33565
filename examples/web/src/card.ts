// One model's prediction. Names come from files that others made: they become text, never markup.

import { inPercent, percent, type Answer } from "./answer";
import type { Data, Model } from "./data";
import { made, press } from "./dom";
import { contextOf, show, type RawImage } from "./image";
import { likeliest, type Prediction } from "./runtime";

const BARS = 10; // more labels than this, and only the likeliest are shown
const LIKELIEST = 5;
const NAMED = 10; // labels of a set, of which the others are counted
const NONE = "None of these";

export class Card {
  readonly element: HTMLElement;
  readonly short = made("div"); // the prediction in three words, for narrow screens
  private readonly prediction = made("p", "prediction");
  private readonly familiarity = made("div", "familiarity");
  private readonly set = made("p", "set");
  private readonly bars = made("ul", "bars");
  private readonly latency = made("dd", "", "…");
  private readonly samples = made("dd", "", "…");
  private readonly map = made("div", "map");
  readonly mapButton = made("button", "", "Activation map") as HTMLButtonElement;

  constructor(
    private readonly model: Model,
    private readonly data: Data,
  ) {
    this.element = made("article", "card");
    const { families } = data.colors;
    if (Object.hasOwn(families, model.family)) {
      this.element.classList.add(model.family);
      for (const element of [this.element, this.short]) {
        element.style.setProperty("--family", families[model.family]!);
      }
    }
    this.short.append(made("span", "", model.name), made("b"), made("span"));
    const title = made("h3", "", model.name);
    const head = made("header");
    head.append(title, made("span", "kind", model.family));
    const metrics = made("dl", "metrics");
    metrics.append(entry("Latency", this.latency), entry("Samples correct", this.samples));
    this.mapButton.type = "button";
    press(this.mapButton, false);
    this.mapButton.hidden = true;
    this.map.append(this.mapButton);
    const track = trackOf();
    const threshold = made("b");
    threshold.style.left = `${100 * (model.familiarity ?? 0)}%`;
    track.append(threshold);
    this.familiarity.append(made("span", "", "Familiarity"), track, made("span", "share"));
    this.element.append(head, this.prediction, this.familiarity, this.set, this.bars, metrics, this.map, made("p", "facts", model.facts));
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

  /**
   * truth: the true label, where it is known. coverage: that the set was chosen for. input: what the model was given, at
   * its size.
   */
  show(prediction: Prediction, answer: Answer, truth: string | null, coverage: string, input: RawImage): void {
    this.map.hidden = false;
    const { probabilities } = prediction;
    const { label, known } = answer;
    const first = likeliest(probabilities);
    const share = percent(answer.probability);
    const correct = truth === label;
    const details = document.createElement("small");
    details.append(known ? share : `nearest: ${label}, ${share}`);
    if (truth !== null) {
      const right = known ? "✓ correct" : "✓ true label";
      details.append(" ", made("span", correct ? "correct" : "wrong", correct ? right : `✗ true label: ${truth}`));
    }
    this.prediction.replaceChildren(known ? label : NONE, details);
    this.showFamiliarity(answer);
    this.showSet(answer, coverage);

    const [, predicted, below] = this.short.children;
    predicted!.textContent = known ? label : NONE;
    below!.textContent = `${known ? share : `nearest: ${label}`}${truth === null ? "" : correct ? " ✓" : " ✗"}`;

    const order = [...this.data.labels.keys()];
    const shown = order.length <= BARS ? order : order.sort((a, b) => probabilities[b]! - probabilities[a]!).slice(0, LIKELIEST);
    // The rows stay, so that their bars move from one image of a camera to the next.
    while (this.bars.childElementCount < shown.length) this.bars.append(emptyBar());
    for (const [place, k] of shown.entries()) {
      const row = this.bars.children[place]!;
      const [name, track, share] = row.children as unknown as HTMLElement[];
      row.classList.toggle("first", k === first);
      name!.textContent = name!.title = this.data.labels[k]!;
      (track!.firstElementChild as HTMLElement).style.width = `${100 * probabilities[k]!}%`;
      share!.textContent = percent(probabilities[k]!);
    }
    this.showMap(prediction, label, input);
  }

  private showFamiliarity({ familiarity, known }: Answer): void {
    this.familiarity.hidden = familiarity === null;
    if (familiarity === null) return;
    const [, track, share] = this.familiarity.children;
    (track!.firstElementChild as HTMLElement).style.width = `${100 * familiarity}%`;
    share!.textContent = percent(familiarity);
    this.familiarity.classList.toggle("unknown", !known);
  }

  private showSet({ labels, known }: Answer, coverage: string): void {
    this.set.hidden = this.model.sets === null;
    const more = (labels?.length ?? 0) - NAMED;
    const named = labels?.slice(0, NAMED).join(", ") ?? "none, too few images were held out for it";
    const head = `${inPercent(coverage)} set${known ? "" : ", if it were one of them"}: `;
    this.set.replaceChildren(head, made("b", "", more > 0 ? `${named} and ${more} more` : named));
  }

  private showMap({ activation }: Prediction, label: string, input: RawImage): void {
    this.map.querySelector("figure")?.remove();
    if (!activation) return;
    const figure = document.createElement("figure");
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `Class activation map for ${label}, over the image`);
    drawMap(canvas, input, activation, this.data.colors);
    figure.append(canvas, made("figcaption", "", `Orange: evidence for ${label}; blue: against it`));
    this.map.append(figure);
  }

  showLatency(milliseconds: number): void {
    this.latency.textContent = time(milliseconds);
  }

  showSamples(correct: number, of: number): void {
    this.samples.textContent = `${correct} of ${of}`;
  }

  /** For the latency and the count of samples. */
  wait(): void {
    this.latency.textContent = this.samples.textContent = "…";
  }

  fail(reason: string): void {
    this.prediction.replaceChildren(made("span", "problem", `This model can’t be used: ${reason}`));
    this.bars.replaceChildren();
    this.familiarity.hidden = this.set.hidden = true;
    this.latency.textContent = this.samples.textContent = "–";
    this.map.hidden = true;
    const [, predicted, share] = this.short.children;
    predicted!.textContent = "can’t be used";
    share!.textContent = "";
  }
}

/** The image in gray, with the activation map over it. */
function drawMap(
  canvas: HTMLCanvasElement,
  input: RawImage,
  { values, height, width }: NonNullable<Prediction["activation"]>,
  colors: Data["colors"],
): void {
  const [positive, negative] = [rgb(colors.positive), rgb(colors.negative)];
  const heat = Object.assign(document.createElement("canvas"), { width, height });
  const image = new ImageData(width, height);
  const most = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1;
  values.forEach((value, k) => {
    image.data.set(value > 0 ? positive : negative, 4 * k);
    image.data[4 * k + 3] = Math.round((190 * Math.abs(value)) / most);
  });
  contextOf(heat).putImageData(image, 0, 0);
  const small = document.createElement("canvas");
  show(input, small);
  const side = Math.ceil(224 / Math.max(input.width, input.height));
  canvas.width = input.width * side;
  canvas.height = input.height * side;
  const context = contextOf(canvas);
  context.imageSmoothingEnabled = false;
  context.filter = "grayscale(1)";
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  context.filter = "none";
  context.imageSmoothingEnabled = true;
  context.drawImage(heat, 0, 0, canvas.width, canvas.height);
}

function emptyBar(): HTMLElement {
  const row = made("li");
  row.append(made("span", "label"), trackOf(), made("span", "share"));
  return row;
}

function trackOf(): HTMLElement {
  const track = made("span", "track");
  track.setAttribute("aria-hidden", "true");
  track.append(made("i"));
  return track;
}

function entry(name: string, value: HTMLElement): HTMLElement {
  const row = document.createElement("div");
  row.append(made("dt", "", name), value);
  return row;
}

/** "#RRGGBB" -> 0..255 each. */
function rgb(color: string): number[] {
  return [1, 3, 5].map((place) => parseInt(color.slice(place, place + 2), 16));
}

function time(milliseconds: number): string {
  return milliseconds < 1 ? `${Math.round(1000 * milliseconds)} µs` : `${milliseconds.toPrecision(2)} ms`;
}
