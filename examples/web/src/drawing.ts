// A pad to draw on, with pointer, finger or keyboard.

import { contextOf } from "./image";

const SIDE = 280; // pixels of the longer side: the exported file brings them to the model's size
const PEN = 1 / 13; // of the side, about two pixels of 28
const STEP = 1 / 28; // of the side, that an arrow key moves the pen

export class Pad {
  private active = false;
  private down = false;
  private at = { x: 0, y: 0 };
  private readonly context: CanvasRenderingContext2D;

  /** changed: called after every stroke that leaves a mark. background: 0 or 255; the pen draws with the other. */
  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly proportions: { height: number; width: number },
    private readonly background: number,
    private readonly changed: () => void,
    private readonly announce: (text: string) => void,
  ) {
    this.context = contextOf(canvas);
    canvas.addEventListener("pointerdown", (event) => {
      if (!this.active || event.button || !event.isPrimary) return; // one finger draws
      canvas.setPointerCapture(event.pointerId);
      this.down = true;
      this.at = this.placeOf(event);
      this.line(this.at);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (this.active && this.down && event.isPrimary && event.pointerType && canvas.hasPointerCapture(event.pointerId)) {
        for (const one of event.getCoalescedEvents?.() ?? []) this.line(this.placeOf(one));
        this.line(this.placeOf(event));
      }
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => (this.down &&= !(event as PointerEvent).isPrimary));
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  begin(): void {
    this.active = true;
    this.canvas.classList.add("pad");
    this.canvas.classList.remove("small");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute("aria-label", "Drawing area");
    this.canvas.setAttribute("aria-describedby", "drawing-help");
    this.clear();
  }

  end(): void {
    this.active = this.down = false;
    this.canvas.classList.remove("pad");
    this.canvas.removeAttribute("tabindex");
    this.canvas.removeAttribute("aria-describedby");
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", "The original image");
  }

  clear(): void {
    const { height, width } = this.proportions;
    const longer = Math.max(height, width);
    this.canvas.width = Math.round((SIDE * width) / longer);
    this.canvas.height = Math.round((SIDE * height) / longer);
    this.context.fillStyle = gray(this.background);
    this.context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    this.down = false;
    this.at = { x: this.canvas.width / 2, y: this.canvas.height / 2 };
    this.changed();
  }

  private key(event: KeyboardEvent): void {
    if (!this.active) return;
    const ways: Record<string, [number, number]> = {
      ArrowLeft: [-1, 0],
      ArrowRight: [1, 0],
      ArrowUp: [0, -1],
      ArrowDown: [0, 1],
    };
    const way = ways[event.key];
    if (event.key === " ") {
      this.down = !this.down;
      if (this.down) this.line(this.at);
      this.announce(this.down ? "Pen down" : "Pen lifted");
    } else if (way) {
      const step = STEP * SIDE;
      const x = Math.min(Math.max(this.at.x + step * way[0], 0), this.canvas.width);
      const y = Math.min(Math.max(this.at.y + step * way[1], 0), this.canvas.height);
      if (this.down) this.line({ x, y });
      this.at = { x, y };
    } else return;
    event.preventDefault();
  }

  private line(to: { x: number; y: number }): void {
    const { context, at } = this;
    context.strokeStyle = context.fillStyle = gray(255 - this.background);
    context.lineWidth = PEN * SIDE;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    context.moveTo(at.x, at.y);
    context.lineTo(to.x, to.y);
    context.stroke();
    context.beginPath(); // a line of no length leaves no mark
    context.arc(to.x, to.y, context.lineWidth / 2, 0, 2 * Math.PI);
    context.fill();
    this.at = to;
    this.changed();
  }

  /** From the page's pixels to the canvas', which is shown whole inside of its box. */
  private placeOf(event: PointerEvent): { x: number; y: number } {
    const box = this.canvas.getBoundingClientRect();
    const { width, height } = this.canvas;
    const scale = Math.min(box.width / width, box.height / height);
    return {
      x: (event.clientX - box.left - (box.width - scale * width) / 2) / scale,
      y: (event.clientY - box.top - (box.height - scale * height) / 2) / scale,
    };
  }
}

const gray = (value: number): string => `rgb(${value} ${value} ${value})`;
