"""Memory that was used and isn't any more."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress


def give_back() -> None:
    """Return freed memory to the system, where the C library keeps it for later: glibc, 150 bytes of each image read.

    Reading a folder frees arrays of a few MiB between others that stay, of which glibc returns none by itself.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library, such as musl
            ctypes.CDLL(None).malloc_trim(0)
