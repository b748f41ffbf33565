// The live camera: images from the middle of its frames, in the proportions of the models' own, never two at work.

import { contextOf, fromCanvas, ImageError, type RawImage } from "./image";

const PAUSE = 100; // milliseconds between two images: nobody reads faster, and the device stays cool
const INSTEAD = "or choose an image instead";

/** What the camera is pointed at, and what becomes of it. */
export interface Scene {
  video: HTMLVideoElement;
  height: number; // with width: the proportions
  width: number;
  channels: 1 | 3;
  begun(): void; // called once, when the video plays
  take(image: RawImage): Promise<unknown>; // the next image waits for it
}

/** Film until `signal` ends it, which switches the camera off at once. Raises ImageError where there is no camera. */
export async function film(scene: Scene, signal: AbortSignal): Promise<void> {
  const { video } = scene;
  const stream = await open();
  const off = (): void => {
    stream.getTracks().forEach((track) => track.stop());
    if (video.srcObject === stream) video.srcObject = null; // else it plays another one by now
  };
  signal.addEventListener("abort", off);
  try {
    if (signal.aborted) return; // while the browser asked
    video.srcObject = stream;
    await video.play();
    scene.begun();
    const context = contextOf(document.createElement("canvas"));
    while (!signal.aborted) {
      if (!stream.active) throw new ImageError(`The camera was switched off or disconnected: start it again, ${INSTEAD}.`);
      await scene.take(middleOf(scene, context));
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
  } catch (error) {
    if (!signal.aborted) throw error; // else it is that the video was taken from the player
  } finally {
    off();
  }
}

async function open(): Promise<MediaStream> {
  // Not there in pages from http://, and in some browsers in those from a folder.
  const devices = navigator.mediaDevices as MediaDevices | undefined;
  if (!devices) {
    throw new ImageError(`The browser gives this page no camera: open it from an https:// address, ${INSTEAD}.`);
  }
  try {
    return await devices.getUserMedia({ video: { facingMode: "environment" } }); // preferred: a laptop has no such one
  } catch (error) {
    const name = error instanceof Error ? error.name : String(error);
    const reasons: Record<string, string> = {
      NotAllowedError: "The camera is not allowed for this page: allow it in the browser’s settings for the page",
      NotFoundError: "No camera was found: connect one",
      NotReadableError: "The camera can’t be used: close other programs that may be using it",
    };
    const reason = Object.hasOwn(reasons, name) ? reasons[name] : `The camera can’t be used (${name}): try again`;
    throw new ImageError(`${reason}, ${INSTEAD}.`);
  }
}

/** The largest part in the middle of the frame that has the proportions: no resizing then distorts or cuts it. */
function middleOf({ video, height, width, channels }: Scene, context: CanvasRenderingContext2D): RawImage {
  const scale = Math.min(video.videoWidth / width, video.videoHeight / height);
  const [w, h] = [Math.round(scale * width), Math.round(scale * height)];
  context.canvas.width = w;
  context.canvas.height = h;
  const [left, top] = [(video.videoWidth - w) >> 1, (video.videoHeight - h) >> 1];
  context.drawImage(video, left, top, w, h, 0, 0, w, h);
  return fromCanvas(context, channels);
}

/** Show in the player's square box the part of each frame that is taken. */
export function frameOf(video: HTMLVideoElement, { height, width }: { height: number; width: number }): void {
  const margin = (side: number): string => `${50 * (1 - side / Math.max(height, width))}%`;
  video.style.padding = `${margin(height)} ${margin(width)}`;
}
