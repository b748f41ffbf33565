"""Folders of tiny images, for tests of what they are taken for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def make(root: Path, folders: Sequence[str], images: int = 4) -> Path:
    """Images in folders; a name that ends in a file's is that file."""
    for seed, folder in enumerate(folders):
        if Path(folder).suffix:
            (root / folder).parent.mkdir(parents=True, exist_ok=True)
            (root / folder).write_bytes(b"x")
            continue
        (root / folder).mkdir(parents=True, exist_ok=True)
        for k in range(images):
            pixels = np.random.RandomState(100 * seed + k).randint(0, 256, (4, 4)).astype(np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{k}.png")
    return root
