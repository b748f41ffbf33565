"""`zoo gallery`: exports/README.md, all exports in one page with a chart for each data set, from manifests alone."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import get_args
from urllib.parse import quote

from pipelines.core.support.durable import sync_all, sync_tree
from pipelines.core.support.markdown import filled, plain, points, row, table
from pipelines.evaluation.comparison.candidates import CHART_FILE
from pipelines.publishing.catalog import Quantized, Reliability, Shipped, read_shipped
from pipelines.publishing.command import run_command
from pipelines.publishing.literature import PUBLISHED, TARGETS, Published, Target
from zoo.contract import CARD_FILE
from zoo.errors import ExportError
from zoo.models.registry import Family

PAGE_FILE = "README.md"

FAMILIES = get_args(Family)


@dataclass(frozen=True)
class Gallery:
    """What was written: the page, a chart for each data set, and how many exports they show."""

    page: Path
    charts: tuple[Path, ...]
    exports: int


def gallery(exports: Path = Path("exports")) -> Gallery:
    """Write the page of exports and its charts, from the manifests in the folder of exports.

    The same manifests give the same bytes, and all files are replaced together. Raises ExportError if there is no
    export, for a damaged one or one of an unknown family, and if the folder can't be written.
    """
    by_data_set = _by_data_set(read_shipped(exports), exports)
    charts = {name: shipped[0].folder.parent / CHART_FILE for name, shipped in by_data_set.items()}
    try:
        # Everything is drawn and written aside before anything is replaced.
        with tempfile.TemporaryDirectory(prefix=".gallery.", dir=exports) as temporary:
            ready = Path(temporary)
            (ready / PAGE_FILE).write_text(_draw_page(ready, by_data_set), encoding="utf-8")
            sync_tree(ready)
            for number, chart in enumerate(charts.values()):
                (ready / f"{number}.png").replace(chart)
            (ready / PAGE_FILE).replace(exports / PAGE_FILE)
            sync_all([*(chart.parent for chart in charts.values()), exports])
    except OSError as error:
        raise ExportError(
            f"{exports} can't be written ({error.strerror}): choose another folder with --exports"
        ) from None
    return Gallery(exports / PAGE_FILE, tuple(charts.values()), sum(map(len, by_data_set.values())))


def page_text(shipped: Sequence[Shipped], exports: Path) -> str:
    """The page as `gallery` would write it. Raises ExportError as it does."""
    with tempfile.TemporaryDirectory() as temporary:
        return _draw_page(Path(temporary), _by_data_set(shipped, exports))


def _draw_page(ready: Path, by_data_set: Mapping[str, Sequence[Shipped]]) -> str:
    """The text, after each data set's chart was drawn into a folder, by its place."""
    from pipelines.publishing.plots import costs

    sections = []
    for number, (name, shipped) in enumerate(by_data_set.items()):
        words = costs(ready / f"{number}.png", shipped, PUBLISHED.get(name, ()))
        sections.append(_section(name, shipped, Path(shipped[0].folder.parent.name, CHART_FILE), words))
    return "\n\n".join([_HEAD, *sections]) + "\n"


def export_row(export: Shipped) -> str:
    """The line of the page's table that an export has."""
    return row(read(export) for _, read in _COLUMNS)


def precision_rows(export: Shipped) -> list[str]:
    """The lines of the page that an export's files of other precisions have."""
    return [row(read(export, found) for _, read in _PRECISION_COLUMNS) for found in export.quantized]


_HEAD = "\n\n".join(
    [
        "# Exports",
        filled("""
            All shipped models and their metrics. `zoo gallery` writes this page from the manifests in this folder, and
            `zoo verify --all` runs each file on its whole test set to check every line. A model's name links to its
            card: how to load it, where it fails, and how it was made.
        """),
        filled("""
            Multiply-acc.: multiply-accumulates for one image. Receptive field: the square of pixels that a feature can
            depend on in theory; all: the whole image. 95% interval: Wilson score interval over the test images. Robust:
            mean accuracy on corrupted test images, over thirteen kinds at five strengths, which the card lists; in
            parentheses, the mean over the earlier suite of four kinds at two strengths. An asterisk: distilled from a
            teacher, which the card names.
        """),
    ]
)


_RELIABILITY = filled("""
    Calibration error: the expected calibration error, in 15 bins of equal mass, before and after temperature scaling;
    its 95% interval starts at 0 if chance is enough to explain the error. Coverage: the share of test images whose
    prediction set, by `predict(image, coverage=0.95)`, contains the true label. Known: the share of test images that
    the file accepts as images of its classes; it accepts 95% of the held-out images.
""")


_QUANTIZED = filled("""
    Files that `zoo quantize` added to the float32 files, with the same contract. The difference in accuracy, the share
    of images with the same prediction, and the speedup are relative to the float32 file, on the same test images; the
    interval is Newcombe's for paired samples. The speedup is that of onnxruntime on one thread of the CPU that
    quantized the model, which had AVX-512 VNNI; it isn't measured again, and `zoo benchmark` measures yours. Models
    with fewer than a million multiply-accumulates have no int8 file: there, rearranging bytes takes longer than the
    faster multiplication saves, and int8 is slower than float32.
""")


def _by_data_set(shipped: Sequence[Shipped], exports: Path) -> dict[str, list[Shipped]]:
    """Those with published results first; in each, dense before conv before hybrid, small before large."""
    if not shipped:
        raise ExportError(f"no export is in {exports}: `zoo run MODEL --data DATA` makes one")
    for export in shipped:
        if export.family not in FAMILIES:
            raise ExportError(
                f"{export.folder} is of the family {export.family!r}, expected one of {', '.join(FAMILIES)}: "
                "export the model again"
            )

    def place(export: Shipped) -> tuple[bool, str, int, int, str]:
        name = export.data_set
        return name not in PUBLISHED, name, FAMILIES.index(export.family), export.parameters or 0, export.model

    return {name: list(found) for name, found in groupby(sorted(shipped, key=place), key=lambda e: e.data_set)}


def _section(name: str, shipped: Sequence[Shipped], chart: Path, words: str) -> str:
    """A data set: its chart, its exports, and what others have published on it."""
    parts = [
        f"## {plain(name)}",
        f"![{plain(words)}]({quote(chart.as_posix())})",
        table([column for column, _ in _COLUMNS], map(export_row, shipped)),
    ]
    measured = [(export, export.reliability) for export in shipped if export.reliability is not None]
    if measured:
        lines = [row(read(*each) for _, read in _RELIABILITY_COLUMNS) for each in measured]
        parts += ["### Reliability", _RELIABILITY, table([name for name, _ in _RELIABILITY_COLUMNS], lines)]
    quantized = [row for export in shipped for row in precision_rows(export)]
    if quantized:
        parts += ["### Quantized", _QUANTIZED, table([column for column, _ in _PRECISION_COLUMNS], quantized)]
    parts += ["### Reproduce", _fenced([run_command(export) for export in shipped])]
    if name in TARGETS:
        parts += ["### Targets", _targets(TARGETS[name], PUBLISHED[name], shipped)]
    if name in PUBLISHED:
        parts += ["### Published results", _published(PUBLISHED[name], shipped)]
    return "\n\n".join(parts)


def _fenced(lines: Sequence[str]) -> str:
    """Commands as they are, behind more backticks than any of them holds."""
    longest = max(map(len, re.findall("`+", "\n".join(lines))), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join((f"{fence}sh", *lines, fence))


# --- exports ---------------------------------------------------------------------------------------------------------


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _link(export: Shipped) -> str:
    folder = quote(f"{export.folder.parent.name}/{export.folder.name}")
    return f"[{plain(export.model)}]({folder}/{CARD_FILE if export.card else ''})"


def _receptive_field(export: Shipped) -> str:
    if export.receptive_field is None:
        return ""
    return f"{export.receptive_field}×{export.receptive_field}" if export.receptive_field else "all"


def _interval(export: Shipped) -> str:
    return "" if export.low is None or export.high is None else f"{100 * export.low:.2f} to {export.high:.2%}"


def _robust(export: Shipped) -> str:
    if export.robust_mean is not None:
        return _share(export.robust_mean)
    return f"({_share(export.robust_accuracy)})" if export.robust_accuracy is not None else ""


def _marked(export: Shipped) -> str:
    return _link(export) + (r"\*" if export.teacher else "")


_COLUMNS: tuple[tuple[str, Callable[[Shipped], str]], ...] = (
    ("family", lambda export: export.family),
    ("model", _marked),
    (">parameters", lambda export: _count(export.parameters)),
    (">multiply-acc.", lambda export: _short(export.multiply_accumulates)),
    (">receptive field", _receptive_field),
    (">test accuracy", lambda export: _share(export.accuracy)),
    (">95% interval", _interval),
    (">robust", _robust),
    (">size", lambda export: f"{export.size / 1000:,.0f} kB"),
)


def _error_interval(found: Reliability) -> str:
    return "" if found.low is None or found.high is None else f"{found.low:.2%} to {found.high:.2%}"


_RELIABILITY_COLUMNS: tuple[tuple[str, Callable[[Shipped, Reliability], str]], ...] = (
    ("model", lambda export, _: _link(export)),
    (">calibration error before", lambda _, found: _share(found.before)),
    (">after", lambda _, found: _share(found.after)),
    (">95% interval", lambda _, found: _error_interval(found)),
    (">coverage", lambda _, found: _share(found.coverage)),
    (">mean set size", lambda _, found: "" if found.mean_set is None else f"{found.mean_set:.2f}"),
    (">known", lambda _, found: _share(found.known)),
)


def _speed(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}×"


def _span(found: Quantized) -> str:
    return "" if found.low is None else f"{points(found.low)} to {points(found.high)}"


_PRECISION_COLUMNS: tuple[tuple[str, Callable[[Shipped, Quantized], str]], ...] = (
    ("model", lambda export, _: _link(export)),
    ("precision", lambda _, found: found.precision),
    (">test accuracy", lambda _, found: _share(found.accuracy)),
    (">difference in points", lambda _, found: points(found.difference)),
    (">95% interval", lambda _, found: _span(found)),
    (">same prediction", lambda _, found: _share(found.same)),
    (">size", lambda _, found: f"{found.size / 1000:,.0f} kB"),
    (">of float32 size", lambda export, found: f"{found.size / export.size:.0%}" if export.size else ""),
    (">speedup, one image", lambda _, found: _speed(found.speedups[0])),
    (">speedup, 64 at once", lambda _, found: _speed(found.speedups[1])),
)


# --- beside others ---------------------------------------------------------------------------------------------------


def _targets(targets: Sequence[Target], published: Sequence[Published], shipped: Sequence[Shipped]) -> str:
    """A line for each budget: the best of ours in it; where that one was distilled, the best that wasn't as well."""
    results = {result.name: result for result in published}
    lines = []
    for target in targets:
        budget = f"{target.family}, {_short(target.parameters)} parameters"
        ours = [export for export in shipped if export.family == target.family]
        best = _best(ours, target.parameters)
        lines.append(_target_row(budget, target, results.get(target.published or ""), best))
        if best is not None and best.teacher:
            alone = _best([export for export in ours if not export.teacher], target.parameters)
            lines.append(_target_row(f"{budget}, not distilled", target, results.get(target.published or ""), alone))
    columns = (
        "budget",
        "published",
        ">minimum",
        ">stretch",
        "our best",
        ">parameters",
        ">test accuracy",
        ">lead",
    )
    return table((*columns, "reached"), lines)


def _target_row(budget: str, target: Target, result: Published | None, best: Shipped | None) -> str:
    anchor = f"{result.accuracy:.1%} ({plain(result.name)})" if result else "none"
    aims = (f"{target.least:.1%}", f"{target.stretch:.1%}")
    if best is None:
        return row((budget, anchor, *aims, "none yet", "", "", "", "no"))
    if best.accuracy >= target.stretch:
        reached = "stretch"
    else:
        reached = "yes" if best.accuracy >= target.least else f"no, {100 * (target.least - best.accuracy):.2f} short"
    link = f"{_link(best)}, distilled from {plain(best.teacher)}" if best.teacher else _link(best)
    metrics = (_count(best.parameters), f"{best.accuracy:.2%}", _ahead(best, result) if result else "")
    return row((budget, anchor, *aims, link, *metrics, reached))


def _published(published: Sequence[Published], shipped: Sequence[Shipped]) -> str:
    """A line for each result: the best of ours that has no more parameters."""
    lines = []
    for result in published:
        best = _best(shipped, result.parameters) if result.parameters else None
        ours = (
            (_link(best), _count(best.parameters), f"{best.accuracy:.2%}", _ahead(best, result)) if best else ("",) * 4
        )
        lines.append(
            row((plain(result.name), _short(result.parameters), f"{result.accuracy:.1%}", *ours, result.source))
        )
    columns = ("result", ">parameters", ">test accuracy", "our best, no larger", ">parameters", ">test accuracy")
    return table((*columns, ">lead", "source"), lines)


def _best(shipped: Sequence[Shipped], parameters: int) -> Shipped | None:
    """The most accurate with at most so many parameters; of equals, the smallest."""
    within = [export for export in shipped if export.parameters is not None and export.parameters <= parameters]
    return max(within, key=lambda export: (export.accuracy, -(export.parameters or 0)), default=None)


def _ahead(best: Shipped, result: Published) -> str:
    """Points of accuracy, and whether the test images are enough to distinguish the two."""
    difference = f"{100 * (best.accuracy - result.accuracy):+.2f}"
    inside = best.low is not None and best.high is not None and best.low <= result.accuracy <= best.high
    return f"{difference}, within the interval" if inside else difference


def _short(number: int | None) -> str:
    """1,800,000 as 1.8 M."""
    if not number:
        return ""
    for unit, name in ((1_000_000, "M"), (1_000, "k")):
        if number >= unit:
            return f"{number / unit:.4g} {name}"
    return str(number)
