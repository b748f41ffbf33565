"""How far answers can be relied on, as a file of contract 2 says it of itself: three optional objects, and their check.

calibration: {"temperature": 1.31, "images": 5000, "split": "validation"}: its logits were divided by the temperature,
which was fitted on so many images of that split, none of which the model learned from.
sets: {"method": "…", "images": 5000, "images_by_class": [n…], "thresholds": {"0.80": t, …, "0.99": t},
"by_class": {"0.80": [t…], …}}: by the share of the sets that hold the true class, the threshold of sets of labels; by
class a threshold for each, in the order of the labels, where each class has images enough. A label is in the set where
its probability isn't below the threshold; the likeliest always is. What images are too few for is left out.
familiarity: {"method": "…", "images": 5000, "threshold": 0.05}: of the output FAMILIARITY, below which an image is
taken for none of the classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from zoo.checked import is_name, is_number, is_plain

RELIABILITY = ("calibration", "sets", "familiarity")  # fields of the metadata, empty where there is nothing to say

MOST_IMAGES = 10**12
HOTTEST = 1e3  # a temperature, and its inverse


def unreliable(found: Mapping[str, Any], classes: int) -> list[str]:
    """The names of those fields of decoded metadata that hold no sense. classes: how many the file has."""
    checks = {"calibration": _is_calibration, "familiarity": _is_familiarity}
    wrong = [
        name for name, fits in checks.items() if not _is_object(found[name]) or (found[name] and not fits(found[name]))
    ]
    if not _is_object(found["sets"]) or (found["sets"] and not _are_sets(found["sets"], classes)):
        wrong.append("sets")
    return wrong


def _is_object(found: Any) -> bool:
    return isinstance(found, dict) and is_plain(found)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 < value <= MOST_IMAGES


def _is_calibration(found: Mapping[str, Any]) -> bool:
    return (
        found.keys() == {"temperature", "images", "split"}
        and is_number(found["temperature"], 1 / HOTTEST, HOTTEST)
        and _is_count(found["images"])
        and found["split"] == "validation"
    )


def _are_sets(found: Mapping[str, Any], classes: int) -> bool:
    if found.keys() != {"method", "images", "images_by_class", "thresholds", "by_class"}:
        return False
    of_all, by_class, images = found["thresholds"], found["by_class"], found["images_by_class"]
    return (
        is_name(found["method"])
        and _is_count(found["images"])
        and isinstance(images, list)
        and len(images) == classes
        and all(type(count) is int and 0 <= count <= found["images"] for count in images)
        and sum(images) == found["images"]
        and isinstance(of_all, dict)
        and isinstance(by_class, dict)
        and all(map(_is_coverage, (*of_all, *by_class)))
        and all(is_number(threshold, 0, 1) for threshold in of_all.values())
        and all(
            isinstance(each, list) and len(each) == classes and all(is_number(threshold, 0, 1) for threshold in each)
            for each in by_class.values()
        )
        and _never_rise([[threshold] for _, threshold in sorted(of_all.items())])
        and _never_rise([each for _, each in sorted(by_class.items())])
    )


def _never_rise(thresholds: Sequence[Sequence[float]]) -> bool:
    """Whether sets for a higher coverage hold what those for a lower one hold. thresholds: by coverage, ascending."""
    return all(higher <= lower for pair in pairwise(thresholds) for lower, higher in zip(pair[0], pair[1], strict=True))


def _is_coverage(name: str) -> bool:
    return len(name) == 4 and name.startswith("0.") and set(name[2:]) <= set("0123456789") and name != "0.00"


def _is_familiarity(found: Mapping[str, Any]) -> bool:
    return (
        found.keys() == {"method", "images", "threshold"}
        and is_name(found["method"])
        and _is_count(found["images"])
        and is_number(found["threshold"], 0, 1)
    )
