"""A camera for Chromium that plays a video, and one that isn't there."""

from __future__ import annotations

import numpy as np
from PIL import Image

RED = (220, 30, 30)
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")  # it is there, and is allowed
WITHOUT = ("--use-fake-device-for-media-stream=device-count=0", "--use-fake-ui-for-media-stream")
DENIED = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream=deny")


def frame(image, height, width):
    """The image as large as it goes into the middle of a red frame. [height, width, 3]"""
    side = min(height, width)
    framed = Image.new("RGB", (width, height), RED)
    framed.paste(image.resize((side, side), Image.Resampling.BILINEAR), ((width - side) // 2, (height - side) // 2))
    return np.asarray(framed)


def clip(path, *frames, each=2):
    """Write a video that Chromium's camera plays again and again, each frame so many times."""
    height, width, _ = frames[0].shape
    with path.open("wb") as file:
        file.write(b"YUV4MPEG2 W%d H%d F30:1 Ip A1:1 C420\n" % (width, height))
        for pixels in frames:
            planes = np.asarray(Image.fromarray(pixels).convert("YCbCr"))
            # As on television: black is 16, white is 235, and four pixels share a color.
            luma = np.round(16 + planes[..., 0] * (219 / 255))
            color = np.round(128 + (planes[::2, ::2, 1:] - 128.0) * (224 / 255))
            parts = (luma, color[..., 0], color[..., 1])
            file.write((b"FRAME\n" + b"".join(part.astype(np.uint8).tobytes() for part in parts)) * each)
    return f"--use-file-for-fake-video-capture={path}"
