// The page: an image comes in, the sliders transform it, every model predicts its label.

import { Card, percent } from "./card";
import { fromBase64, readData, type Data } from "./data";
import { byId, isPressed, made, press } from "./dom";
import { Pad } from "./drawing";
import { contextOf, fromCanvas, ImageError, readImage, show, type RawImage } from "./image";
import { Classifier, likeliest, measure, providers, Resizer, start, type Prediction, type Provider } from "./runtime";
import { sliders } from "./sliders";
import { inverted, isNeutral, NEUTRAL, transformed, type Settings } from "./transform";

const TOLERANCE: Record<Provider, number> = { wasm: 1e-4, webgpu: 1e-3 }; // of a probability, from Python's
const SETTLED = 250; // milliseconds without a change, after which what takes longer is done
const SPOKEN = 800; // milliseconds without a change, after which predictions are read out

interface Sample {
  image: RawImage; // as it is
  sized: RawImage; // at the model's size
  label: string;
}

class Page {
  private readonly settings: Settings = { ...NEUTRAL };
  private readonly cards: Card[];
  private classifiers: (Classifier | null)[] = []; // null for a model that can't be used
  private provider: Provider = "wasm";
  private samples: Sample[] = [];
  private source: { image: RawImage; truth: string | null } | null = null;
  private sized: { of: RawImage; inverted: boolean; image: RawImage } | null = null;
  private readonly pad: Pad;
  private changes = 0; // counts them, so that work on an old one is dropped
  private shown = 0; // the change whose predictions are shown
  private busy = false;
  private measured = ""; // for which size of an image the latencies are shown
  private given: RawImage | null = null; // what the models were given last
  private words = ""; // their predictions, to be read out
  private timers: ReturnType<typeof setTimeout>[] = [];

  private constructor(
    private readonly data: Data,
    private readonly resizer: Resizer,
  ) {
    this.cards = data.models.map((model) => new Card(model, data));
    byId("predictions").replaceChildren(...this.cards.map((card) => card.element));
    byId("summary").replaceChildren(...this.cards.map((card) => card.short));
    byId("size").textContent = `${data.height} × ${data.width} px`;
    this.pad = new Pad(
      byId("source"),
      data,
      data.background,
      () => this.take(fromCanvas(contextOf(byId("source")), data.channels), null),
      (text) => (byId("spoken").textContent = text),
    );
    this.pad.end();
  }

  static async open(): Promise<void> {
    await start();
    const data = readData();
    const page = new Page(data, await Resizer.open(data));
    await page.readSamples();
    const possible = await providers();
    await page.run(possible.at(-1)!);
    page.listen(possible);
    byId("predictions").closest("main")!.hidden = false;
    page.showSample(0);
  }

  // --- models --------------------------------------------------------------------------------------------------

  /** Open every model on a provider, if it starts there and matches Python; else on the processor, and report it. */
  private async run(provider: Provider): Promise<void> {
    const before = this.classifiers;
    this.classifiers = []; // none predicts meanwhile, and what they were doing is dropped
    this.changes++;
    await Promise.all(before.map((classifier) => classifier?.close()));
    let device = provider === "wasm" ? "your processor (WebAssembly, one thread)" : "your graphics card (WebGPU)";
    let opened = await this.openAll(provider);
    if (provider === "webgpu") {
      const reason = opened.problems.find(Boolean) ?? "";
      if (reason) {
        device = `your processor, as the graphics card can’t be used (${reason})`;
        provider = "wasm";
        opened = await this.openAll(provider);
      }
    }
    this.classifiers = opened.classifiers;
    this.cards.forEach((card, k) => {
      if (opened.problems[k]) card.fail(opened.problems[k]);
      card.mapButton.hidden = !this.classifiers[k]?.hasActivationMap;
    });
    this.provider = provider;
    byId("state").textContent = `Runs on ${device}.`;
    byId("checked").textContent = opened.compared
      ? `Checked at start: on ${this.samples.length} samples, all models match Python’s probabilities to ${opened.largest.toExponential(0)}.`
      : "";
    byId("checked").dataset["largest"] = String(opened.largest);
    this.measured = "";
  }

  private async openAll(provider: Provider): Promise<{
    classifiers: (Classifier | null)[];
    problems: string[]; // a model each; "" for none
    largest: number; // difference of a probability from Python's
    compared: number;
  }> {
    const classifiers: (Classifier | null)[] = [];
    const problems: string[] = [];
    let [largest, compared] = [0, 0];
    for (const model of this.data.models) {
      let problem = "";
      let classifier: Classifier | null = null;
      try {
        classifier = await Classifier.open(model, provider);
        for (const [k, sample] of this.samples.entries()) {
          const expected = model.expected[k];
          if (!expected) continue;
          const [prediction] = await classifier.predict([sample.image]);
          const difference = Math.max(...expected.map((value, c) => Math.abs(value - prediction!.probabilities[c]!)));
          if (!(difference <= TOLERANCE[provider])) {
            throw new Error(`its predictions don’t match Python’s, a probability differs by ${difference.toPrecision(2)}`);
          }
          largest = Math.max(largest, difference);
          compared++;
        }
      } catch (error) {
        problem = reasonOf(error);
        await classifier?.close().catch(() => undefined);
        classifier = null;
      }
      classifiers.push(classifier);
      problems.push(problem);
    }
    return { classifiers, problems, largest, compared };
  }

  // --- images --------------------------------------------------------------------------------------------------

  private async readSamples(): Promise<void> {
    for (const { png, label } of this.data.samples) {
      const blob = new Blob([fromBase64(png)], { type: "image/png" });
      const { image } = await readImage(blob, label, this.data.channels, this.data.largest_image);
      const sized = await this.resizer.resize(image);
      const place = this.samples.push({ image, sized, label }) - 1;
      const button = made("button") as HTMLButtonElement;
      button.type = "button";
      press(button, false);
      const thumbnail = new Image();
      thumbnail.src = `data:image/png;base64,${png}`;
      thumbnail.alt = label;
      button.title = label;
      button.append(thumbnail);
      button.onclick = () => this.showSample(place);
      byId("samples").append(button);
    }
  }

  private showSample(place: number): void {
    const sample = this.samples[place];
    if (!sample) return this.draw(); // an export without samples
    this.leavePad();
    this.mark(place);
    byId("source-text").textContent = `Sample: ${sample.label}`;
    this.take(sample.image, sample.label);
  }

  private async readFile(file: Blob & { name?: string }): Promise<void> {
    byId("source-text").textContent = "Reading …";
    try {
      const name = file.name ? `“${file.name}”` : "The image";
      const { image, note } = await readImage(file, name, this.data.channels, this.data.largest_image);
      this.leavePad();
      this.mark(-1);
      byId("source-text").textContent = note;
      this.take(image, null);
    } catch (error) {
      byId("source-text").textContent = "";
      this.report(error instanceof ImageError ? error.message : `The image can’t be read: ${reasonOf(error)}.`);
    }
  }

  private draw(): void {
    press(byId("draw"), true);
    byId("drawing").hidden = false;
    this.mark(-1);
    byId("source-text").textContent = "Your drawing";
    this.pad.begin();
    byId("source").focus({ preventScroll: true });
  }

  private leavePad(): void {
    this.pad.end();
    press(byId("draw"), false);
    byId("drawing").hidden = true;
  }

  /** Of the samples that one is chosen; none for -1. */
  private mark(place: number): void {
    [...byId("samples").children].forEach((button, k) => press(button, k === place));
  }

  private take(image: RawImage, truth: string | null): void {
    this.source = { image, truth };
    this.report("");
    this.change();
  }

  private report(problem: string): void {
    byId("problem").textContent = problem;
    byId("problem").hidden = !problem;
  }

  // --- from the image to the predictions ------------------------------------------------------------------------

  private change(): void {
    this.changes++;
    this.timers.forEach(clearTimeout);
    if (!this.busy) void this.catchUp();
  }

  /** Predict until nothing has changed in the meantime: a slider moves faster than large models predict. */
  private async catchUp(): Promise<void> {
    this.busy = true;
    try {
      while (this.shown < this.changes) {
        const change = this.changes;
        await this.predict(change).catch((error: unknown) => {
          if (change === this.changes) throw error; // else a model was closed meanwhile
        });
        this.shown = change;
      }
      const settled = this.shown;
      this.timers = [
        setTimeout(() => {
          this.settle(settled).catch((error: unknown) => {
            if (settled === this.changes) this.report(`The models can’t be run: ${reasonOf(error)}.`);
          });
        }, SETTLED),
        setTimeout(() => (byId("spoken").textContent = this.words), SPOKEN),
      ];
      document.body.dataset["shown"] = String(this.shown);
    } catch (error) {
      this.report(`The models can’t be run: ${reasonOf(error)}.`);
      this.shown = this.changes;
    } finally {
      this.busy = false;
    }
  }

  private async predict(change: number): Promise<void> {
    const { image, truth } = this.source!;
    const isInverted = byId<HTMLInputElement>("invert").checked;
    const raw = isInverted ? inverted(image) : image;
    if (this.sized?.of !== image || this.sized.inverted !== isInverted) {
      this.sized = { of: image, inverted: isInverted, image: await this.resizer.resize(raw) };
    }
    const input = transformed(this.sized.image, this.settings);
    if (!byId("source").classList.contains("pad")) {
      show(image, byId("source"));
      byId("source").classList.toggle("small", Math.max(image.height, image.width) < 200);
    }
    show(input, byId("input"));
    // The file resizes as in training: what no slider changed is handed over as it is, as in any app.
    const given = isNeutral(this.settings) ? raw : input;
    const words: string[] = [];
    for (const [k, classifier] of this.classifiers.entries()) {
      if (change !== this.changes) return;
      if (!classifier) continue;
      const [prediction] = await classifier.predict([given], isPressed(this.cards[k]!.mapButton));
      this.cards[k]!.show(prediction!, truth, input);
      this.cards[k]!.element.dataset["probabilities"] = JSON.stringify(prediction!.probabilities);
      words.push(`${classifier.model.name}: ${this.sentence(prediction!)}`);
    }
    this.given = given;
    this.words = words.join(" ");
  }

  private sentence({ probabilities }: Prediction): string {
    const first = likeliest(probabilities);
    return `${this.data.labels[first]!}, ${percent(probabilities[first]!)}.`;
  }

  /** What takes longer: the other samples at the same settings, and the latency. */
  private async settle(change: number): Promise<void> {
    const stopped = (): boolean => change !== this.changes;
    const moved = this.samples.map((sample) => transformed(sample.sized, this.settings));
    for (const [k, classifier] of this.classifiers.entries()) {
      if (!classifier || !moved.length || stopped()) continue;
      const predictions = await classifier.predict(moved);
      const correct = predictions.filter(
        (prediction, n) => this.data.labels[likeliest(prediction.probabilities)] === this.samples[n]!.label,
      );
      this.cards[k]!.showSamples(correct.length, moved.length);
    }
    const given = this.given!;
    const kind = `${given.height} × ${given.width}`;
    if (kind !== this.measured && !stopped()) {
      const there = this.classifiers.filter((classifier) => classifier !== null);
      const taken = await measure(there, given, stopped);
      if (taken) {
        there.forEach((classifier, k) => this.cards[this.classifiers.indexOf(classifier)]!.showLatency(taken[k]!));
        this.measured = kind;
      }
    }
    if (!stopped()) document.body.dataset["settled"] = String(change);
  }

  // --- what the reader does -------------------------------------------------------------------------------------

  private listen(possible: Provider[]): void {
    const reset = sliders(this.data, this.settings, () => this.change());
    byId("reset").onclick = () => {
      byId<HTMLInputElement>("invert").checked = false;
      reset();
    };
    byId("invert").oninput = () => this.change();
    byId("draw").onclick = () => {
      if (isPressed(byId("draw"))) this.showSample(0);
      else this.draw();
    };
    byId("clear").onclick = () => {
      this.pad.clear();
      byId("source").focus({ preventScroll: true });
    };
    for (const id of ["file", "photograph"]) {
      const input = byId<HTMLInputElement>(id);
      input.oninput = () => {
        const file = input.files?.[0];
        input.value = ""; // the same file can be chosen again
        if (file) void this.readFile(file);
      };
    }
    this.listenToDrops();
    this.cards.forEach((card) => {
      card.mapButton.onclick = () => {
        press(card.mapButton, !isPressed(card.mapButton));
        this.change();
      };
    });
    if (possible.length > 1) this.offer(possible);
  }

  private listenToDrops(): void {
    const { body } = document;
    document.addEventListener("dragover", (event) => {
      event.preventDefault();
      body.classList.add("dropping");
    });
    document.addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) body.classList.remove("dropping");
    });
    document.addEventListener("drop", (event) => {
      event.preventDefault(); // or the browser would leave the page for the file
      body.classList.remove("dropping");
      this.readFirst(event.dataTransfer, "What was dropped");
    });
    document.addEventListener("paste", (event) => this.readFirst(event.clipboardData, "What was pasted"));
  }

  private readFirst(from: DataTransfer | null, what: string): void {
    const file = from?.files[0];
    if (file) void this.readFile(file);
    else this.report(`${what} holds no image: take a file, or copy the image itself.`);
  }

  private offer(possible: Provider[]): void {
    const select = byId<HTMLSelectElement>("provider");
    const names = { wasm: "processor (WebAssembly)", webgpu: "graphics card (WebGPU)" };
    select.replaceChildren(...possible.map((name) => new Option(names[name], name)));
    select.value = this.provider;
    select.hidden = byId("provider-label").hidden = false;
    select.onchange = async () => {
      select.disabled = true;
      byId("state").textContent = "Starting …";
      await this.run(select.value as Provider);
      select.value = this.provider;
      select.disabled = false;
      this.change();
    };
  }
}

function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.split("\n")[0]!.replace(/\.$/, "");
}

Page.open().catch((error: unknown) => {
  const state = byId("state");
  state.className = "problem";
  state.setAttribute("role", "alert");
  state.textContent = `The page can’t start: ${reasonOf(error)}.`;
});
