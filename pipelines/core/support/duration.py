"""Times as people write them: 90s, 20m, 1h30m."""

from __future__ import annotations

import math
import re

_UNITS = {"h": 3600, "m": 60, "s": 1}
_FORM = re.compile("".join(rf"(?:(\d+(?:\.\d+)?){unit})?" for unit in _UNITS))


def parse_duration(text: str) -> float:
    """In seconds, above 0. Raises ValueError for anything else, a number without a unit among it."""
    found = _FORM.fullmatch(re.sub(r"(?<=[hms])\s+(?=\d)", "", text.strip().lower()))
    seconds = (
        sum(float(part) * unit for part, unit in zip(found.groups("0"), _UNITS.values(), strict=True)) if found else 0
    )
    if not 0 < seconds < 1e9:
        raise ValueError(f"expected a time such as 90s, 20m or 1h30m, received {text!r}")
    return seconds


def written(seconds: float) -> str:
    """A duration as `parse_duration` reads it, to the second; below ten of them to the tenth."""
    if seconds < 10:
        return f"{seconds:.3g}s" if seconds < 1 else f"{math.floor(seconds * 10 + 0.5) / 10:g}s"
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return "".join(f"{number}{unit}" for number, unit in ((hours, "h"), (minutes, "m"), (left, "s")) if number)


def roughly(seconds: float) -> str:
    """An estimate in words, as coarse as estimates are."""
    minutes = seconds / 60
    if minutes < 1:
        return "less than a minute"
    if minutes < 90:
        return f"about {minutes:.0f} minute{'s' if round(minutes) > 1 else ''}"
    return f"about {minutes / 60:.0f} hours" if minutes < 48 * 60 else f"about {minutes / 60 / 24:.0f} days"
