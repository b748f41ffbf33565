// Short words for what the page does with its elements.

export const byId = <T extends HTMLElement>(id: string): T => document.getElementById(id) as T;

/** A new element. text: never taken as markup. */
export function made(tag: string, kind = "", text = ""): HTMLElement {
  const element = document.createElement(tag);
  if (kind) element.className = kind;
  element.textContent = text;
  return element;
}

export function press(button: Element, pressed: boolean): void {
  button.setAttribute("aria-pressed", String(pressed));
}

export function isPressed(button: Element): boolean {
  return button.getAttribute("aria-pressed") === "true";
}

/** What went wrong, as the middle of a sentence. */
export function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.split("\n")[0]!.replace(/\.$/, "");
}
