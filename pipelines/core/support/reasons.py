"""Why the system refused a file, in its own words."""

from __future__ import annotations

import shutil


def reason_of(error: OSError) -> str:
    """Of a folder that couldn't be copied: what was said of its first file."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        _, _, why = error.args[0][0]
        return str(why).partition("] ")[2].partition(": '")[0] or str(why)
    return error.strerror or str(error) or type(error).__name__
