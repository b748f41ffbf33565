// The ways in which a file comes into the page: chosen, photographed, dropped, pasted.

import { byId } from "./dom";

export function listenToFiles(read: (file: File) => void, report: (problem: string) => void): void {
  const { body } = document;
  const readFirst = (from: DataTransfer | null, what: string): void => {
    const file = from?.files[0];
    if (file) read(file);
    else report(`${what} holds no image: take a file, or copy the image itself.`);
  };
  for (const id of ["file", "photograph"]) {
    const input = byId<HTMLInputElement>(id);
    input.oninput = () => {
      const file = input.files?.[0];
      input.value = ""; // the same file can be chosen again
      if (file) read(file);
    };
  }
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
    readFirst(event.dataTransfer, "What was dropped");
  });
  document.addEventListener("paste", (event) => readFirst(event.clipboardData, "What was pasted"));
}
