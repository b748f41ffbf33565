"""What was found in a folder of images, whether one can learn from it, and what to do about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from zoo.checked import LONGEST_NAME
from zoo.contract import WHITE
from zoo.data.folders.duplicates import Duplicates, connected
from zoo.data.folders.inspection import ARRAY, Inspection
from zoo.data.listing import OF_SYSTEM, SPLITS, Listing
from zoo.data.names import alike, alike_sentence
from zoo.data.report import ClassCount, Finding, Report, Same, SizeCount
from zoo.formats import FORMATS

LARGEST_UNREADABLE_SHARE = 0.05  # above it, something is wrong with the folder rather than with a few files
# Images of the largest class for one of the smallest: above it, accuracy is about the largest.
LARGEST_IMBALANCE = 5.0
MOST_GROUPS, MOST_FILES, MOST_SIZES = 1000, 20, 2000  # that a report names one by one; it counts all of them
ORDINARY = ("not called an image", "in no class", OF_SYSTEM, "another array")  # of what is left out
USABLE, LOOK, UNUSABLE = "ready for training", "usable, but see the findings", "not usable yet"


def make_report(listing: Listing, inspection: Inspection, duplicates: Duplicates, kept: Duplicates) -> Report:
    """All that `zoo data check` reports. kept: those of the duplicates that `kept_together` gives."""
    readable = inspection.readable
    same, all_same, across, between = _same(listing, duplicates)
    surplus = {"equal": _surplus(duplicates.equal)}
    if duplicates.near is not None:
        surplus["near"] = _surplus(duplicates.near) - surplus["equal"]
    wrongly_named = tuple(inspection.wrongly_named(listing))
    counts = _counts(listing, readable)
    found = _findings(listing, inspection, duplicates, kept, across, between, surplus, len(wrongly_named), counts)
    findings = tuple(found)
    sizes = Counter(zip(inspection.heights[readable].tolist(), inspection.widths[readable].tolist(), strict=True))
    return Report(
        path=str(listing.root),
        files=len(listing),
        readable=int(readable.sum()),
        splits=listing.given,
        classes=tuple(
            ClassCount(label, sum(row), {split: row[SPLITS.index(split)] for split in listing.given})
            for label, row in zip(listing.labels, counts.tolist(), strict=True)
        ),
        sizes=tuple(SizeCount(*size, count) for size, count in sizes.most_common(MOST_SIZES)),
        formats=dict(
            Counter("array" if k == ARRAY else FORMATS[k] for k in inspection.formats[readable].tolist()).most_common()
        ),
        modes=dict(Counter(inspection.modes).most_common()),
        unreadable=inspection.problems,
        left_out=listing.left_out,
        wrongly_named=wrongly_named,
        same=same,
        surplus=surplus,
        verdict=UNUSABLE if obstacle(findings) else LOOK if findings else USABLE,
        findings=findings,
        understood=listing.understood,
        all_sizes=len(sizes),
        all_same=all_same,
    )


def obstacle(findings: Iterable[Finding]) -> str:
    """The sentence that says why nothing can be learned yet; "" where there is none."""
    return next((finding.sentence for finding in findings if finding.serious), "")


def _surplus(units: NDArray[np.int64]) -> int:
    return len(units) - len(np.unique(units))


def _counts(listing: Listing, used: NDArray[np.bool_]) -> NDArray[np.int64]:
    """[K, 3]: how many of the images are of each class and split."""
    counts = np.zeros((len(listing.labels), len(SPLITS)), np.int64)
    np.add.at(counts, (listing.classes[used], listing.splits[used]), 1)
    return counts


def _same(listing: Listing, duplicates: Duplicates) -> tuple[tuple[Same, ...], int, int, int]:
    """Groups of duplicates, the most important first; how many there are, in several splits, and in several classes."""
    found: list[Same] = []
    count = across = between = 0
    for kind, units in (("equal", duplicates.equal), ("near", duplicates.near)):
        if units is None:
            continue
        size, different = np.bincount(units), _different(units, duplicates.equal)
        splits, labels = _different(units, listing.splits), _different(units, listing.classes)
        several = (size > 1) & ((different > 1) if kind == "near" else True)
        count += int(several.sum())
        across += int((several & (splits > 1)).sum())
        between += int((several & (labels > 1)).sum())
        chosen = np.flatnonzero(several)
        chosen = chosen[np.lexsort((chosen, -labels[chosen], -splits[chosen]))][:MOST_GROUPS]
        order = np.argsort(units, kind="stable")
        begin = np.searchsorted(units[order], np.arange(len(size) + 1))
        for unit in chosen.tolist():
            members = order[begin[unit] : begin[unit + 1]]
            found.append(
                Same(
                    kind=kind,
                    images=len(members),
                    files=tuple(listing.files[k] for k in members[:MOST_FILES]),
                    labels=tuple(listing.labels[k] for k in np.unique(listing.classes[members])),
                    splits=tuple(SPLITS[k] for k in np.unique(listing.splits[members])),
                )
            )
    found.sort(key=lambda same: (-len(same.splits), -len(same.labels), same.kind, same.files))
    return tuple(found[:MOST_GROUPS]), count, across, between


def _different(units: NDArray[np.int64], values: NDArray[np.integer]) -> NDArray[np.int64]:
    """How many different values [N] each unit has."""
    kinds = int(values.max(initial=0)) + 1
    pairs = np.unique(units.astype(np.int64) * kinds + values)
    return np.bincount(pairs // kinds, minlength=int(units.max(initial=-1)) + 1)


# --- what to do ----------------------------------------------------------------------------------------------------


def _findings(
    listing: Listing,
    inspection: Inspection,
    duplicates: Duplicates,
    kept: Duplicates,
    across: int,
    between: int,
    surplus: Mapping[str, int],
    wrongly_named: int,
    by_split: NDArray[np.int64],
) -> Iterator[Finding]:
    """What stands against learning first, then what to look at."""
    unusable = why_unusable(listing, inspection, kept)
    if unusable:
        yield Finding(True, unusable)
    elif inspection.problems:
        yield Finding(False, f"{_count(len(inspection.problems), 'file')} can't be read, and will be left out")
    if across:
        yield Finding(
            False,
            f"{_count(across, 'image')} can be found in more than one of {', '.join(listing.given)}: the test is "
            "on training images; exact duplicates are left out of train, near duplicates are for you to remove",
        )
    grouped = listing.groups >= 0
    apart = int((_different(listing.groups[grouped].astype(np.int64), listing.splits[grouped]) > 1).sum())
    if apart:
        yield Finding(
            False,
            f"{_count(apart, 'group')} can be found in more than one of {', '.join(listing.given)}: what the others "
            "share with test, and train with validation, is left out of them",
        )
    if between:
        yield Finding(False, f"{_count(between, 'image')} can be found in more than one class: keep the correct one")
    if duplicates.near is None:
        yield Finding(
            False, "near duplicates weren't searched for: there are too many images, or they look too similar"
        )
    elif not unusable and kept.near is None:
        yield Finding(False, "nearly all images of a class look alike: only exact duplicates are kept in one split")
    if surplus["equal"] or surplus.get("near"):
        repeated = [
            f"{_count(count, 'image')} {how} {'repeats' if count == 1 else 'repeat'} another"
            for count, how in ((surplus["equal"], "exactly"), (surplus.get("near"), "nearly"))
            if count
        ]
        yield Finding(False, f"{', '.join(repeated)}: duplicates stay in one split, and all of them are used")
    counts = by_split.sum(axis=1)
    if counts.size and counts.min() and counts.max() > LARGEST_IMBALANCE * counts.min():
        largest, smallest = listing.labels[int(counts.argmax())], listing.labels[int(counts.argmin())]
        yield Finding(
            False,
            f"class {largest!r} has {counts.max() / counts.min():.1f} times the images of {smallest!r}: add some, or "
            "sample classes equally with --set balance=classes",
        )
    for names in alike(listing.labels):
        yield Finding(False, alike_sentence(names))
    if inspection.white != WHITE:
        bits = (inspection.white + 1).bit_length() - 1
        yield Finding(
            False,
            f"{_count(int((inspection.highest > 0).sum()), 'image')} of 16 bits use {bits} of them (values up to "
            f"{int(inspection.highest.max()):,}): {inspection.white:,} is white, also in the exported file",
        )
    constant = np.flatnonzero(inspection.readable & inspection.constant)
    if len(constant):
        yield Finding(
            False,
            f"{_count(len(constant), 'image')} of one color throughout, such as black or white: "
            f"{listing.where(int(constant[0]))!r} is the first",
        )
    if wrongly_named:
        yield Finding(False, f"{_count(wrongly_named, 'image')} with the file extension of another format: used anyway")
    kinds = Counter(problem.kind for problem in listing.left_out if problem.kind != OF_SYSTEM)
    if kinds:
        listed = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
        yield Finding(False, f"left out because they aren't usable images: {listed}")


def why_unusable(listing: Listing, inspection: Inspection | None = None, duplicates: Duplicates | None = None) -> str:
    """Why nothing can be learned from it, in a sentence that says what to do; "" where it can.

    Without an inspection as far as names alone show.
    """
    problems = inspection.problems if inspection else ()
    among = f" that can be read ({problems[0].sentence})" if problems else ""
    elsewhere = next((f" ({p.sentence})" for p in listing.left_out if p.kind not in ORDINARY), "")
    root, used = listing.root, inspection.readable if inspection else np.ones(len(listing), bool)
    if not used.any():
        return f"{root} holds no images{among or elsewhere}: expected {listing.expected}"
    if "train" not in listing.given:
        return f"{root} holds {' and '.join(listing.given)} images, but no folder train to learn from"
    if len(listing.labels) < 2:
        return f"{root} holds one class, {listing.labels[0]!r}: expected 2 classes or more"
    long = next((label for label in listing.labels if len(label) > LONGEST_NAME), None)
    if long is not None:
        return f"{root} holds a class {long[:20]!r}... whose name has {len(long):,} letters: rename it"
    unprintable = next((label for label in listing.labels if not label.isprintable()), None)
    if unprintable is not None:
        return f"{root} holds a class {unprintable!r} whose name can't be printed: rename it"
    counts = _counts(listing, used)
    apart = None if duplicates is None else _apart(listing, used, duplicates)
    for number, label in enumerate(listing.labels):
        for split in listing.given:
            expected = 1 + len(SPLITS) - len(listing.given) if split == "train" else 1
            where = f"{split} of {root}" if len(listing.given) > 1 else str(root)
            found = int(counts[number, SPLITS.index(split)])
            if found < expected:
                twins = [name for names in alike(listing.labels) if label in names for name in names if name != label]
                twin = f" (is it {twins[0]!r}, spelled differently?)" if twins else ""
                return (
                    f"class {label!r} in {where} has {_count(found, 'image')}{among or elsewhere}, expected at least "
                    f"{expected}, so that train, validation and test have one each: add some, or remove the class{twin}"
                )
            if apart is not None and split == "train" and apart[number] < expected:
                return (
                    f"class {label!r} in {where} has {_count(found, 'image')}, of which {apart[number]} can be kept "
                    f"apart (the others are duplicates, or of one group), expected at least {expected}, so that "
                    "train, validation and test have one each: add some, or remove the class"
                )
    if len(problems) > LARGEST_UNREADABLE_SHARE * len(listing):
        named = "; ".join(problem.sentence for problem in problems[:3])
        return (
            f"{len(problems)} of {len(listing)} images in {root} can't be read, expected at most "
            f"{LARGEST_UNREADABLE_SHARE:.0%}: {named}{'; ...' if len(problems) > 3 else ''}"
        )
    return ""


def _apart(listing: Listing, used: NDArray[np.bool_], duplicates: Duplicates) -> NDArray[np.int64]:
    """[K]: in how many pieces the train images of each class can be divided."""
    learned = used & (listing.splits == SPLITS.index("train"))
    pieces = np.unique(np.stack([listing.classes[learned], together(listing, duplicates)[learned]]), axis=1)
    return np.bincount(pieces[0], minlength=len(listing.labels))


def kept_together(listing: Listing, inspection: Inspection, duplicates: Duplicates) -> Duplicates:
    """The duplicates that no splits may part: near ones, too, unless a class is hardly anything else."""
    equal = Duplicates(duplicates.equal, None)
    if why_unusable(listing, inspection, duplicates) and not why_unusable(listing, inspection, equal):
        return equal
    return duplicates


def together(listing: Listing, duplicates: Duplicates) -> NDArray[np.int64]:
    """[N]: what may not lie in two splits has the same number: duplicates, and images of one group."""
    if not (listing.groups >= 0).any():
        return duplicates.units
    grouped = np.flatnonzero(listing.groups >= 0)
    order = grouped[np.argsort(listing.groups[grouped], kind="stable")]
    neighbors = order[:-1][np.diff(listing.groups[order]) == 0], order[1:][np.diff(listing.groups[order]) == 0]
    return connected(duplicates.units, duplicates.units[np.stack(neighbors, axis=1)])


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
