// The page: an image comes in, the sliders transform it, every model predicts its label.

import { answerOf, coverages, inPercent, sentence } from "./answer";
import { film, frameOf } from "./camera";
import { Card } from "./card";
import { readData, type Data } from "./data";
import { byId, isPressed, press, reasonOf } from "./dom";
import { Pad } from "./drawing";
import { listenToFiles } from "./files";
import { contextOf, fromCanvas, ImageError, readImage, show, type RawImage } from "./image";
import { openAll } from "./opening";
import { type Classifier, likeliest, measure, providers, Resizer, start, type Provider } from "./runtime";
import { mark, readSamples, type Sample } from "./samples";
import { sliders } from "./sliders";
import { inverted, isNeutral, NEUTRAL, transformed, type Settings } from "./transform";

const SETTLED = 250; // milliseconds without a change, after which what takes longer is done
const SPOKEN = 800; // milliseconds without a change, after which predictions are read out

class Page {
  private readonly settings: Settings = { ...NEUTRAL };
  private readonly cards: Card[];
  private classifiers: (Classifier | null)[] = []; // null for a model that can't be used
  private provider: Provider = "wasm";
  private samples: Sample[] = [];
  private source: { image: RawImage; truth: string | null } | null = null;
  private sized: { of: RawImage; inverted: boolean; image: RawImage } | null = null;
  private readonly pad: Pad;
  private drawn: RawImage | null = null; // what the left canvas shows
  private caption = ""; // below it
  private chosen = 0; // counts what the reader chose, so that an image that is still being read is dropped
  private changes = 0; // counts them, so that work on an old one is dropped
  private shown = 0; // the change whose predictions are shown
  private predicting: Promise<void> | null = null;
  private filming: AbortController | null = null; // from the request for the camera until it is switched off
  private measured = ""; // for which size of an image the latencies are shown
  private given: RawImage | null = null; // what the models were given last
  private words = ""; // their predictions, to be read out
  private labels = ""; // those in them
  private settling?: ReturnType<typeof setTimeout>;
  private speaking?: ReturnType<typeof setTimeout>;

  private constructor(
    private readonly data: Data,
    private readonly resizer: Resizer,
  ) {
    this.cards = data.models.map((model) => new Card(model, data));
    byId("predictions").replaceChildren(...this.cards.map((card) => card.element));
    byId("summary").replaceChildren(...this.cards.map((card) => card.short));
    const isOneSize = data.models.every((model) => model.height === data.height);
    byId("size").textContent = `${data.height} × ${data.width} px${isOneSize ? "" : ", smaller models reduce it"}`;
    this.pad = new Pad(
      byId("source"),
      data,
      data.background,
      () => this.take(fromCanvas(contextOf(byId("source")), data.channels), null),
      (text) => (byId("spoken").textContent = text),
    );
    this.pad.end();
    frameOf(byId("video"), data);
  }

  static async open(): Promise<void> {
    await start();
    const data = readData();
    const page = new Page(data, await Resizer.open(data));
    page.samples = await readSamples(data, page.resizer, (place) => page.showSample(place));
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
    await Promise.all(before.map((classifier) => classifier?.close().catch(() => undefined)));
    let device = provider === "wasm" ? "your processor (WebAssembly, one thread)" : "your graphics card (WebGPU)";
    const images = this.samples.map((sample) => sample.image);
    let opened = await openAll(this.data.models, images, provider);
    if (provider === "webgpu" && opened.problems.some(Boolean)) {
      const there = opened.problems;
      await Promise.all(opened.classifiers.map((classifier) => classifier?.close().catch(() => undefined)));
      provider = "wasm";
      opened = await openAll(this.data.models, images, provider);
      // A model that runs on neither says nothing of the card.
      const reason = there.find((problem, k) => problem && !opened.problems[k]);
      device = `your processor, as ${reason ? `the graphics card can’t be used (${reason})` : "a model can’t be run"}`;
    }
    this.classifiers = opened.classifiers;
    this.cards.forEach((card, k) => {
      if (opened.problems[k]) card.fail(opened.problems[k]);
      card.mapButton.hidden = !this.classifiers[k]?.hasActivationMap;
    });
    this.provider = provider;
    byId("state").textContent = `Runs on ${device}.`;
    const { matching, compared } = opened;
    const every = compared === this.classifiers.length ? "all models match" : "all models that have samples match";
    const which = matching === compared ? every : `${matching} of ${compared} models match`;
    byId("checked").textContent = matching
      ? `Checked at start: on ${this.samples.length} samples, ${which} Python’s probabilities to ${roundedUp(opened.largest)}.`
      : "";
    byId("checked").dataset["largest"] = String(opened.largest);
    this.measured = "";
  }

  // --- images --------------------------------------------------------------------------------------------------

  private showSample(place: number): void {
    const sample = this.samples[place];
    if (!sample) return this.draw(); // an export without samples
    this.chosen++;
    this.leave();
    mark(place);
    this.describe(`Sample: ${sample.label}`);
    this.take(sample.image, sample.label);
  }

  private async readFile(file: Blob & { name?: string }): Promise<void> {
    this.stopCamera();
    const reading = ++this.chosen;
    const before = this.caption;
    byId("source-text").textContent = "Reading …";
    try {
      const name = file.name ? `“${file.name}”` : "The image";
      const { channels, largest_image, white } = this.data;
      const { image, note } = await readImage(file, name, channels, largest_image, white);
      if (reading !== this.chosen) return; // something else was chosen meanwhile
      this.leave();
      mark(-1);
      this.describe(note);
      this.take(image, null);
    } catch (error) {
      if (reading !== this.chosen) return;
      this.describe(before);
      this.report(error instanceof ImageError ? error.message : `The image can’t be read: ${reasonOf(error)}.`);
    }
  }

  private draw(): void {
    this.chosen++;
    this.stopCamera();
    press(byId("draw"), true);
    byId("drawing").hidden = false;
    mark(-1);
    this.describe("Your drawing");
    this.drawn = null;
    this.pad.begin();
    byId("source").focus({ preventScroll: true });
  }

  private async startCamera(): Promise<void> {
    this.chosen++;
    this.describe(this.caption); // no file is being read any more
    const filming = (this.filming = new AbortController());
    byId("camera").classList.add("on");
    const begun = (): void => {
      this.leavePad();
      mark(-1);
      this.report("");
      this.showVideo(true);
      // Both are taken of an image that stays: the last one.
      this.measured = "";
      this.classifiers.forEach((classifier, k) => classifier && this.cards[k]!.wait());
      this.labels = "";
      byId("spoken").textContent = "The camera is on.";
    };
    const take = (image: RawImage): Promise<void> => {
      this.source = { image, truth: null };
      this.describe(`Camera, ${image.width} × ${image.height}`);
      return this.change();
    };
    try {
      await film({ ...this.data, video: byId<HTMLVideoElement>("video"), begun, take }, filming.signal);
    } catch (error) {
      if (filming.signal.aborted) return; // what is chosen by now isn't the camera
      this.stopCamera();
      this.report(error instanceof ImageError ? error.message : `The camera can’t be used: ${reasonOf(error)}.`);
    }
  }

  /** Its last image stays, as if it had been chosen. */
  private stopCamera(): void {
    if (!this.filming) return;
    this.filming.abort();
    this.filming = null;
    byId("camera").classList.remove("on");
    if (byId("video").hidden) return; // it hadn't begun
    this.showVideo(false);
    byId("spoken").textContent = "The camera is off.";
    void this.change();
  }

  private showVideo(shown: boolean): void {
    byId("video").hidden = !shown;
    byId("source").hidden = shown;
  }

  private leave(): void {
    this.leavePad();
    this.stopCamera();
  }

  private leavePad(): void {
    this.pad.end();
    press(byId("draw"), false);
    byId("drawing").hidden = true;
  }

  private take(image: RawImage, truth: string | null): void {
    this.source = { image, truth };
    this.report("");
    void this.change();
  }

  /** What the image is, below it. */
  private describe(text: string): void {
    this.caption = text;
    byId("source-text").textContent = text;
  }

  private report(problem: string): void {
    byId("problem").textContent = problem;
    byId("problem").hidden = !problem;
  }

  // --- from the image to the predictions ------------------------------------------------------------------------

  /** Returns when the predictions are shown. */
  private change(): Promise<void> {
    this.changes++;
    clearTimeout(this.settling);
    if (!this.filming) clearTimeout(this.speaking);
    return (this.predicting ??= this.catchUp());
  }

  /** Predict until nothing has changed in the meantime: a slider moves faster than large models predict. */
  private async catchUp(): Promise<void> {
    await null; // `predicting` is set before it is cleared
    try {
      while (this.shown < this.changes) {
        const change = this.changes;
        await this.predict(change).catch((error: unknown) => {
          if (change === this.changes) throw error; // else a model was closed meanwhile
        });
        this.shown = change;
      }
      if (!this.filming) this.settleSoon(this.shown);
      document.body.dataset["shown"] = String(this.shown);
    } catch (error) {
      this.stopCamera();
      this.report(`The models can’t be run: ${reasonOf(error)}.`);
      this.shown = this.changes;
    } finally {
      this.predicting = null;
    }
  }

  private settleSoon(change: number): void {
    this.settling = setTimeout(() => {
      this.settle(change).catch((error: unknown) => {
        if (change === this.changes) this.report(`The models can’t be run: ${reasonOf(error)}.`);
      });
    }, SETTLED);
  }

  private async predict(change: number): Promise<void> {
    const { image, truth } = this.source!;
    const isInverted = byId<HTMLInputElement>("invert").checked;
    const raw = isInverted ? inverted(image) : image;
    if (this.sized?.of !== image || this.sized.inverted !== isInverted) {
      this.sized = { of: image, inverted: isInverted, image: await this.resizer.resize(raw) };
    }
    const input = transformed(this.sized.image, this.settings);
    if (!byId("source").classList.contains("pad") && this.drawn !== image) {
      show(image, byId("source")); // of a photo, millions of pixels: not again for each move of a slider
      this.drawn = image;
      byId("source").classList.toggle("small", Math.max(image.height, image.width) < 200);
    }
    show(input, byId("input"));
    // The file resizes as in training: what no slider changed is handed over as it is, as in any app.
    const given = isNeutral(this.settings) ? raw : input;
    const coverage = byId<HTMLSelectElement>("coverage").value;
    const [words, labels]: [string[], string[]] = [[], []];
    for (const [k, classifier] of this.classifiers.entries()) {
      if (change !== this.changes) return;
      if (!classifier) continue;
      const [prediction] = await classifier.predict([given], isPressed(this.cards[k]!.mapButton));
      const answer = answerOf(prediction!, classifier.model, this.data.labels, coverage);
      this.cards[k]!.show(prediction!, answer, truth, coverage, input);
      this.cards[k]!.element.dataset["probabilities"] = JSON.stringify(prediction!.probabilities);
      this.cards[k]!.element.dataset["answer"] = JSON.stringify(answer);
      words.push(`${classifier.model.name}: ${sentence(answer)}`);
      labels.push(answer.known ? answer.label : "");
    }
    this.given = given;
    this.words = words.join(" ");
    this.speakSoon(labels.join("\n"));
  }

  /** Images of a camera follow each other too fast to be read out: labels are, once they haven't changed for a while. */
  private speakSoon(labels: string): void {
    if (this.filming && labels === this.labels) return;
    this.labels = labels;
    clearTimeout(this.speaking);
    this.speaking = setTimeout(() => (byId("spoken").textContent = this.words), SPOKEN);
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
    byId("camera").onclick = () => {
      if (this.filming) this.stopCamera();
      else void this.startCamera();
    };
    // Nobody is filmed by a page that is out of sight. A page that is left is hidden first.
    document.addEventListener("visibilitychange", () => document.hidden && this.stopCamera());
    byId("clear").onclick = () => {
      this.pad.clear();
      byId("source").focus({ preventScroll: true });
    };
    listenToFiles((file) => void this.readFile(file), (problem) => this.report(problem));
    this.cards.forEach((card) => {
      card.mapButton.onclick = () => {
        press(card.mapButton, !isPressed(card.mapButton));
        this.change();
      };
    });
    this.offerCoverages(coverages(this.data.models));
    if (possible.length > 1) this.offer(possible);
  }

  /** Of the sets of labels; none where no file has thresholds. */
  private offerCoverages(known: string[]): void {
    const select = byId<HTMLSelectElement>("coverage");
    select.replaceChildren(...known.map((name) => new Option(inPercent(name), name)));
    select.value = known.find((name) => name >= "0.95") ?? known.at(-1) ?? "";
    byId("coverages").hidden = !known.length;
    select.onchange = () => this.change();
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

/** 0.0000014 -> 2e-6: what is stated is kept to. */
function roundedUp(largest: number): string {
  const step = 10 ** Math.floor(Math.log10(largest || 1e-9));
  return (Math.ceil(largest / step) * step).toExponential(0);
}

Page.open().catch((error: unknown) => {
  const state = byId("state");
  state.className = "problem";
  state.setAttribute("role", "alert");
  state.textContent = `The page can’t start: ${reasonOf(error)}.`;
});
