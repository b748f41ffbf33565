"""Two folders take each other's name in one step: at no moment is a name without a folder."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

_HERE = -100  # AT_FDCWD: paths are relative to the working folder
_EXCHANGE = 2  # RENAME_EXCHANGE on Linux, RENAME_SWAP on macOS
_CANNOT = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}  # some network file systems, old kernels


def exchange(one: Path, other: Path) -> bool:
    """Swap two folders of one file system. False where system or file system has no such step, and nothing changed.

    Raises OSError where it has, and refuses.
    """
    call, before, between = {"linux": ("renameat2", (_HERE,), (_HERE,)), "darwin": ("renamex_np", (), ())}.get(
        sys.platform, ("", (), ())
    )
    swap = getattr(ctypes.CDLL(None, use_errno=True), call, None) if call else None
    if swap is None:
        return False
    if swap(*before, os.fsencode(one), *between, os.fsencode(other), ctypes.c_uint(_EXCHANGE)) == 0:
        return True
    code = ctypes.get_errno()
    if code in _CANNOT:
        return False
    raise OSError(code, os.strerror(code), str(one))
