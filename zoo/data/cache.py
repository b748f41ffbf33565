"""Where downloads and decoded images are kept between two commands."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/classifier-zoo, by default below ~/.cache. May not exist yet, and may be removed at any time."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "classifier-zoo"
