// The page: a picture comes in, the sliders move its pixels, every model answers.

import { Card, made, percent } from "./card";
import { fromBase64, readData, type Data } from "./data";
import { Pad } from "./drawing";
import { contextOf, fromCanvas, PictureError, readPicture, show, type Picture } from "./picture";
import { Classifier, likeliest, measure, providers, Resizer, start, type Answer, type Provider } from "./runtime";
import { sliders } from "./sliders";
import { inverted, isNeutral, NEUTRAL, transformed, type Settings } from "./transform";

const TOLERANCE: Record<Provider, number> = { wasm: 1e-4, webgpu: 1e-3 }; // of a probability, from Python's
const SETTLED = 250; // milliseconds without a change, after which what takes longer is done
const SPOKEN = 800; // milliseconds without a change, after which answers are read out

const byId = <T extends HTMLElement>(id: string): T => document.getElementById(id) as T;

interface Sample {
  picture: Picture; // as it is
  sized: Picture; // at the model's size
  label: string;
}

class Page {
  private readonly settings: Settings = { ...NEUTRAL };
  private readonly cards: Card[];
  private classifiers: (Classifier | null)[] = []; // null for a model that can't be used
  private provider: Provider = "wasm";
  private samples: Sample[] = [];
  private source: { picture: Picture; truth: string | null } | null = null;
  private sized: { of: Picture; inverted: boolean; picture: Picture } | null = null;
  private readonly pad: Pad;
  private changes = 0; // counts them, so that work on an old one is dropped
  private shown = 0; // the change whose answers are shown
  private busy = false;
  private measured = ""; // for which size of a picture the latencies are shown
  private given: Picture | null = null; // what the models were given last
  private words = ""; // their answers, to be read out
  private timers: ReturnType<typeof setTimeout>[] = [];

  private constructor(
    private readonly data: Data,
    private readonly resizer: Resizer,
  ) {
    this.cards = data.models.map((model) => new Card(model, data.labels));
    byId("answers").replaceChildren(...this.cards.map((card) => card.element));
    byId("summary").replaceChildren(...this.cards.map((card) => card.short));
    byId("size").textContent = `${data.height} × ${data.width} pixels`;
    this.pad = new Pad(
      byId("source"),
      data,
      data.ground,
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
    byId("answers").closest("main")!.hidden = false;
    page.showSample(0);
  }

  // --- models --------------------------------------------------------------------------------------------------

  /** Open every model on a provider, if it starts there and answers as in Python; else on the processor, and say so. */
  private async run(provider: Provider): Promise<void> {
    const before = this.classifiers;
    this.classifiers = []; // none answers meanwhile, and what they were doing is dropped
    this.changes++;
    await Promise.all(before.map((classifier) => classifier?.close()));
    let told = provider === "wasm" ? "your processor (WebAssembly, one thread)" : "your graphics card (WebGPU)";
    let opened = await this.openAll(provider);
    if (provider === "webgpu") {
      const reason = opened.problems.find(Boolean) ?? "";
      if (reason) {
        told = `your processor, as the graphics card can’t be used (${reason})`;
        provider = "wasm";
        opened = await this.openAll(provider);
      }
    }
    this.classifiers = opened.classifiers;
    this.cards.forEach((card, k) => {
      if (opened.problems[k]) card.fail(opened.problems[k]);
      card.explain.hidden = !this.classifiers[k]?.explains;
    });
    this.provider = provider;
    byId("state").textContent = `Runs on ${told}.`;
    byId("checked").textContent = opened.compared
      ? `Checked at start: on ${this.samples.length} samples all models answer as they do in Python, to ${opened.largest.toExponential(0)}.`
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
          const [answer] = await classifier.answer([sample.picture]);
          const difference = Math.max(...expected.map((value, c) => Math.abs(value - answer!.probabilities[c]!)));
          if (!(difference <= TOLERANCE[provider])) {
            throw new Error(`it answers otherwise than in Python, a probability differs by ${difference.toPrecision(2)}`);
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

  // --- pictures ------------------------------------------------------------------------------------------------

  private async readSamples(): Promise<void> {
    for (const { png, label } of this.data.samples) {
      const blob = new Blob([fromBase64(png)], { type: "image/png" });
      const { picture } = await readPicture(blob, label, this.data.channels, this.data.largest_picture);
      const sized = await this.resizer.resize(picture);
      const place = this.samples.push({ picture, sized, label }) - 1;
      const button = made("button") as HTMLButtonElement;
      button.type = "button";
      press(button, false);
      const image = new Image();
      image.src = `data:image/png;base64,${png}`;
      image.alt = label;
      button.title = label;
      button.append(image);
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
    this.take(sample.picture, sample.label);
  }

  private async readFile(file: Blob & { name?: string }): Promise<void> {
    byId("source-text").textContent = "Reading …";
    try {
      const name = file.name ? `“${file.name}”` : "The picture";
      const { picture, note } = await readPicture(file, name, this.data.channels, this.data.largest_picture);
      this.leavePad();
      this.mark(-1);
      byId("source-text").textContent = note;
      this.take(picture, null);
    } catch (error) {
      byId("source-text").textContent = "";
      this.tell(error instanceof PictureError ? error.message : `The picture can’t be read: ${reasonOf(error)}.`);
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

  private take(picture: Picture, truth: string | null): void {
    this.source = { picture, truth };
    this.tell("");
    this.change();
  }

  private tell(problem: string): void {
    byId("problem").textContent = problem;
    byId("problem").hidden = !problem;
  }

  // --- from the picture to the answers --------------------------------------------------------------------------

  private change(): void {
    this.changes++;
    this.timers.forEach(clearTimeout);
    if (!this.busy) void this.catchUp();
  }

  /** Answer until nothing has changed in the meantime: a slider moves faster than large models think. */
  private async catchUp(): Promise<void> {
    this.busy = true;
    try {
      while (this.shown < this.changes) {
        const change = this.changes;
        await this.answer(change).catch((error: unknown) => {
          if (change === this.changes) throw error; // else a model was closed meanwhile
        });
        this.shown = change;
      }
      const settled = this.shown;
      this.timers = [
        setTimeout(() => {
          this.settle(settled).catch((error: unknown) => {
            if (settled === this.changes) this.tell(`The models can’t answer: ${reasonOf(error)}.`);
          });
        }, SETTLED),
        setTimeout(() => (byId("spoken").textContent = this.words), SPOKEN),
      ];
      document.body.dataset["shown"] = String(this.shown);
    } catch (error) {
      this.tell(`The models can’t answer: ${reasonOf(error)}.`);
      this.shown = this.changes;
    } finally {
      this.busy = false;
    }
  }

  private async answer(change: number): Promise<void> {
    const { picture, truth } = this.source!;
    const swapped = byId<HTMLInputElement>("invert").checked;
    const raw = swapped ? inverted(picture) : picture;
    if (this.sized?.of !== picture || this.sized.inverted !== swapped) {
      this.sized = { of: picture, inverted: swapped, picture: await this.resizer.resize(raw) };
    }
    const seen = transformed(this.sized.picture, this.settings);
    if (!byId("source").classList.contains("pad")) {
      show(picture, byId("source"));
      byId("source").classList.toggle("small", Math.max(picture.height, picture.width) < 200);
    }
    show(seen, byId("seen"));
    // The file resizes as it was trained to: what nobody moved is handed over as it is, as in any app.
    const given = isNeutral(this.settings) ? raw : seen;
    const words: string[] = [];
    for (const [k, classifier] of this.classifiers.entries()) {
      if (change !== this.changes) return;
      if (!classifier) continue;
      const [answer] = await classifier.answer([given], isPressed(this.cards[k]!.explain));
      this.cards[k]!.show(answer!, truth, seen);
      this.cards[k]!.element.dataset["probabilities"] = JSON.stringify(answer!.probabilities);
      words.push(`${classifier.model.name}: ${this.sentence(answer!)}`);
    }
    this.given = given;
    this.words = words.join(" ");
  }

  private sentence({ probabilities }: Answer): string {
    const first = likeliest(probabilities);
    return `${this.data.labels[first]!}, ${percent(probabilities[first]!)} sure.`;
  }

  /** What takes longer: the other samples at the same settings, and the time of an answer. */
  private async settle(change: number): Promise<void> {
    const stopped = (): boolean => change !== this.changes;
    const moved = this.samples.map((sample) => transformed(sample.sized, this.settings));
    for (const [k, classifier] of this.classifiers.entries()) {
      if (!classifier || !moved.length || stopped()) continue;
      const answers = await classifier.answer(moved);
      const right = answers.filter(
        (answer, n) => this.data.labels[likeliest(answer.probabilities)] === this.samples[n]!.label,
      );
      this.cards[k]!.showSamples(right.length, moved.length);
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
      card.explain.onclick = () => {
        press(card.explain, !isPressed(card.explain));
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
    else this.tell(`${what} holds no picture: take a file, or copy the picture itself.`);
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

function press(button: Element, pressed: boolean): void {
  button.setAttribute("aria-pressed", String(pressed));
}

function isPressed(button: Element): boolean {
  return button.getAttribute("aria-pressed") === "true";
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
