"""The page of `zoo compare --html`: one file, no script, safe to open whatever models and classes are called.

What can be chosen on it is chosen by form controls that its style reacts to.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from html import escape
from io import BytesIO
from itertools import accumulate, product
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pipelines.core.metrics.paired import paired_test
from pipelines.evaluation.comparison.candidates import Candidate
from pipelines.evaluation.comparison.details import Model, gather
from pipelines.evaluation.comparison.paired import Pair, Tested
from pipelines.plotting.svg import COLORS, DASHES, STYLE, Chart, Front, Point, Series
from zoo.errors import printable
from zoo.images import Pixels

if TYPE_CHECKING:
    from pipelines.evaluation.comparison.rows import Comparison

IMAGES = 12  # that one of a pair alone gets right, and as many of the other
SIDE = 96  # pixels at most of such an image
CLASSES = 40  # rows of a table about classes
COSTS = {
    "parameters": "parameters",
    "multiply_accumulates": "multiply-accumulates",
    "latency": "latency of one image, µs",
    "size": "file, bytes",
}
CURVES = {
    "validation_accuracy": "validation accuracy, %",
    "train_accuracy": "training accuracy, %",
    "validation_loss": "validation loss",
    "train_loss": "training loss",
}


def render_page(candidates: Sequence[Candidate], comparison: Comparison, tested: Sequence[Tested]) -> str:
    """The text of the page. What the runs of exports logged is looked for in the store, and told where it isn't there.

    Raises TrackingError where the store fails, and ExportError where an evaluation in it is damaged.
    """
    models = gather(candidates, comparison, tested)
    shown = _shown([model.name for model in models])
    models = [replace(model, name=shown[model.name]) for model in models]
    notes = [*comparison.notes, *_strangers(models)]
    sets = dict.fromkeys(name.partition("/")[0] for name in shown)
    title = f"{', '.join(sets)}: {f'{len(models)} models compared' if len(models) > 1 else models[0].name}"
    parts = [
        f"<h1>{_text(title)}</h1>",
        _summary(models),
        "".join(f'<p class="quiet">{_text(note)}</p>' for note in notes),
        _fronts(models),
        _curves(models),
        *(_pairs(group, shown) for group in tested),
        _classes(models),
        _table_of_differences("Recipes", "recipe", {model.name: model.recipe for model in models}),
        _table_of_differences("Environments", "environment", {model.name: model.environment for model in models}),
    ]
    style = _STYLE + _choices(len(models))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(style, STYLE)}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{_text(title)}</title><style>{style}</style></head>\n"
        f"<body>\n{chr(10).join(part for part in parts if part)}\n</body></html>\n"
    )


def _shown(names: Sequence[str]) -> dict[str, str]:
    """What each is called on the page: without the data set where all share one."""
    shared = len({name.partition("/")[0] for name in names}) == 1
    return {name: name.partition("/")[2] if shared else name for name in names}


def _strangers(models: Sequence[Model]) -> list[str]:
    found = [model.name for model in models if not model.known]
    which = "these exports" if len(found) == len(models) else ", ".join(found)
    return [f"no learning curves of {which}: the store doesn't know their runs"] if found else []


def _policy(*styles: str) -> str:
    """Nothing is loaded, nothing runs, and no style counts but these, even if something slipped through."""
    hashes = (base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() for style in styles)
    allowed = " ".join(f"'sha256-{each}'" for each in hashes)
    return f"default-src 'none'; img-src data:; style-src {allowed}; base-uri 'none'; form-action 'none'"


# --- its parts -----------------------------------------------------------------------------------------------------


def _summary(models: Sequence[Model]) -> str:
    rows = []
    for model in models:
        f = model.metrics
        interval = f"{f['low']:.2%} to {f['high']:.2%}" if {"low", "high"} <= f.keys() else ""
        rows.append(
            (
                model.name,
                model.family,
                _figure(f, "accuracy", ".2%"),
                interval,
                _figure(f, "parameters", ",.0f"),
                _figure(f, "multiply_accumulates", ",.0f"),
                f"{f['latency']:,.0f} µs" if "latency" in f else "",
                f"{f['size'] / 1000:,.0f} kB" if "size" in f else "",
                model.run[:8],
            )
        )
    head = ("model", "family", ">test accuracy", ">95 % interval", ">parameters", ">multiply-acc.", ">latency")
    return _table((*head, ">file", "run"), rows)


def _figure(metrics: Mapping[str, float], name: str, form: str) -> str:
    return format(metrics[name], form) if name in metrics else ""


def _fronts(models: Sequence[Model]) -> str:
    charts: dict[tuple[str, ...], Chart | Front] = {}
    for cost, told in COSTS.items():
        points = [
            Point(m.name, f[cost], 100 * f["accuracy"], 100 * f["low"], 100 * f["high"], m.family)
            for m, f in ((model, model.metrics) for model in models)
            if {cost, "accuracy", "low", "high"} <= f.keys() and f[cost] > 0
        ]
        if points:
            charts[(told,)] = Front(f"Test accuracy against {told}", told, "test accuracy, %", points)
    if not charts:
        return ""
    told = "Up and to the left is better. On the dashed line are the models that no other beats in both; bars are 95 % "
    told += "intervals."
    return _section("Accuracy and its price", told, _choice("front", charts), kind="fronts")


def _curves(models: Sequence[Model]) -> str:
    charts: dict[tuple[str, ...], Chart | Front] = {}
    drawn: set[int] = set()
    for (metric, told), x in product(CURVES.items(), ("epochs", "seconds")):
        lines = []
        for place, model in enumerate(models):
            if line := _curve(model, place, metric, x):
                lines.append(line)
                drawn.add(place)
        if lines:
            log = metric.endswith("loss") and all(value > 0 for line in lines for (value,) in line.y)
            name = told.partition(",")[0]
            charts[name, f"by {x}"] = Chart(f"{name} by {x}", x, told, lines, log_y=log)
    if not charts:
        return ""
    boxes = "".join(
        f'<label><input type="checkbox" class="show-{place}" checked> {_text(models[place].name)}</label> '
        for place in sorted(drawn)
    )
    shown = f"<fieldset><legend>shown</legend>{boxes}</fieldset>" if len(drawn) > 1 else ""
    return _section("Learning curves", "", shown + _choice("curve", charts), kind="curves")


def _curve(model: Model, place: int, metric: str, x: str) -> Series | None:
    """What a model measured, by epochs seen or seconds taken; None where it measured nothing. place: its color."""
    factor = 100 if metric.endswith("accuracy") else 1
    values, epochs = model.history.get(metric, ()), model.history.get("epoch", ())
    at = epochs if x == "epochs" else tuple(accumulate(model.history.get("seconds", ())))
    measured = [k for k, value in enumerate(values) if isfinite(value)]
    if not measured or len(at) != len(values):
        return None
    y = [[factor * values[k]] for k in measured]
    dash = place // len(COLORS) % len(DASHES)
    return Series(model.name, [at[k] for k in measured], y, dash=dash, key=f"m{place}")


def _pairs(tested: Tested, shown: Mapping[str, str]) -> str:
    rows = [
        (
            shown[pair.better],
            shown[pair.other],
            f"{100 * pair.test.difference:.2f}",
            f"{100 * pair.test.low:.2f} to {100 * pair.test.high:.2f}",
            f"{pair.adjusted_p:.3f}" if pair.adjusted_p >= 0.001 else "<0.001",
            f"{pair.test.only_first:,} to {pair.test.only_second:,}",
        )
        for pair in tested.pairs
    ]
    head = ("better", "other", ">points better", ">95 % interval", ">p", ">right alone")
    told = (
        f"The best against each of the others on the same {len(tested.data_set.test):,} test {tested.data_set.kind}: "
        "the difference of accuracy in points, with Newcombe's interval, and p of McNemar's test for so many pairs."
    )
    details = "".join(_pair(tested, pair, shown, opened=place == 0) for place, pair in enumerate(tested.pairs))
    return _section(f"Which is better on {tested.data_set.name}", told, _table(head, rows) + details)


def _pair(tested: Tested, pair: Pair, shown: Mapping[str, str], *, opened: bool) -> str:
    test = tested.data_set.test
    first, second = tested.right(pair.better), tested.right(pair.other)
    by_class = []
    for k, label in enumerate(tested.data_set.labels):
        own = test.labels == k
        if own.any():
            by_class.append((label, paired_test(first[own], second[own]), first[own].mean(), second[own].mean()))
    by_class.sort(key=lambda each: -abs(each[1].difference))
    widest = max((abs(each.difference) for _, each, _, _ in by_class), default=0) or 1.0
    rows = [
        (
            _text(label),
            f"{each.images:,}",
            f"{mine:.1%}",
            f"{its:.1%}",
            f"{100 * each.difference:+.1f}",
            f"{100 * each.low:+.1f} to {100 * each.high:+.1f}",
            _bar(each.difference / widest),
        )
        for label, each, mine, its in by_class[:CLASSES]
    ]
    better, other = shown[pair.better], shown[pair.other]
    head = ("class", f">{test.kind}", f">{better}", f">{other}", ">points", ">95 % interval", "")
    more = f'<p class="quiet">And {len(by_class) - CLASSES} classes more.</p>' if len(by_class) > CLASSES else ""
    shots = "" if tested.data_set.columns else _shots(tested, pair, shown)
    return (
        f"<details{' open' if opened else ''}><summary>{_text(better)} and {_text(other)}</summary>"
        "<h3>Class by class: the share that each gets right</h3>"
        f"{_table(head, rows, escaped=True)}{more}{shots}</details>"
    )


def _bar(share: float) -> str:
    """A bar from the middle, to the right where the better one is better. share: -1..1."""
    width = 50 * abs(share)
    start = 50 if share >= 0 else 50 - width
    kind = "plus" if share >= 0 else "minus"
    return (
        '<svg class="bar" viewBox="0 0 100 10" aria-hidden="true">'
        '<path class="middle" d="M50 0v10"/>'
        f'<rect class="{kind}" x="{start:.1f}" y="1" width="{width:.1f}" height="8"/>'
        "</svg>"
    )


def _shots(tested: Tested, pair: Pair, shown: Mapping[str, str]) -> str:
    parts = []
    for name, other in ((pair.better, pair.other), (pair.other, pair.better)):
        alone = np.flatnonzero(tested.right(name) & ~tested.right(other))
        # The clearest cases first: one sure and right, the other sure and wrong.
        sure = tested.answers[name].confidence[alone] * tested.answers[other].confidence[alone]
        chosen = alone[np.argsort(-sure, kind="stable")][:IMAGES].tolist()
        of = f", the {len(chosen)} clearest of them" if len(chosen) < len(alone) else ""
        title = f"{len(alone):,} images that only {shown[name]} gets right{of}"
        images = "".join(_shot(tested, index, name, other, shown) for index in chosen)
        parts.append(f'<h3>{_text(title)}</h3><div class="shots">{images}</div>')
    return "".join(parts)


def _shot(tested: Tested, index: int, right: str, wrong: str, shown: Mapping[str, str]) -> str:
    data_set = tested.data_set
    of_right, of_wrong = tested.answers[right], tested.answers[wrong]
    truth, mistaken = (data_set.labels[k] for k in (data_set.test.labels[index], of_wrong.answer[index]))
    told = (
        f"test image {data_set.test.names[index]}, {truth}: {shown[right]} says so "
        f"({of_right.confidence[index]:.0%}), {shown[wrong]} says {mistaken} ({of_wrong.confidence[index]:.0%})"
    )
    data = base64.b64encode(_png(np.asarray(data_set.test.inputs[index]))).decode()
    return (
        f'<figure class="shot"><img alt="{_text(told)}" title="{_text(told)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{_text(truth)}<br><span>{_text(mistaken)} {of_wrong.confidence[index]:.0%}</span></figcaption>"
        "</figure>"
    )


def _png(image: Pixels) -> bytes:
    shot = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    shot.thumbnail((SIDE, SIDE))
    file = BytesIO()
    shot.save(file, "PNG", optimize=True)
    return file.getvalue()


def _classes(models: Sequence[Model]) -> str:
    known = [model for model in models if model.classes]
    labels = list(dict.fromkeys(label for model in known for label in model.classes))
    if not labels:
        return ""
    spread = {}
    for label in labels:
        recalls = [model.classes[label][1] for model in known if label in model.classes]
        spread[label] = max(recalls) - min(recalls)
    rows = []
    for label in sorted(labels, key=lambda label: -spread[label])[:CLASSES]:
        best = max(model.classes[label][1] for model in known if label in model.classes)
        count = next(model.classes[label][0] for model in known if label in model.classes)
        cells = []
        for model in known:
            recall = model.classes.get(label, (0, None))[1]
            cells.append(
                "" if recall is None else f"<strong>{recall:.1%}</strong>" if recall == best else f"{recall:.1%}"
            )
        rows.append((_text(label), f"{count:,}", *cells))
    head = ("class", ">in the test", *(f">{model.name}" for model in known))
    told = "The share of each class that a model gets right; the classes on which the models differ most come first."
    if len(labels) > CLASSES:
        told += f" {CLASSES} of {len(labels)} classes."
    return _section("Class by class", told, _table(head, rows, escaped=True))


def _table_of_differences(title: str, kind: str, of_models: Mapping[str, Mapping[str, str]]) -> str:
    """A row for each field that isn't the same in all models that say something of it."""
    known = {name: fields for name, fields in of_models.items() if fields}
    if len(known) < 2:
        return ""
    names = list(dict.fromkeys(name for fields in known.values() for name in fields))
    rows = [
        (name, *(_brief(name, fields.get(name, "not said")) for fields in known.values()))
        for name in names
        if len({fields.get(name) for fields in known.values()}) > 1
    ]
    if not rows:
        return _section(title, f"The {kind} is the same in every field.", "")
    return _section(title, f"The fields of the {kind} that differ.", _table(("", *known), rows))


def _brief(name: str, value: str) -> str:
    """Digests by their beginning."""
    if name == "code":
        return value[:12]
    if name == "commit" and value:
        commit, plus, _ = value.partition("+")
        return commit[:12] + (" and changes" if plus else "")
    return value or "none"


# --- HTML ----------------------------------------------------------------------------------------------------------


def _section(title: str, told: str, body: str, *, kind: str = "") -> str:
    about = f'<p class="quiet">{_text(told)}</p>' if told else ""
    return f'<section class="{kind}"><h2>{_text(title)}</h2>{about}{body}</section>'


def _choice(group: str, charts: Mapping[tuple[str, ...], Chart | Front]) -> str:
    """Charts of which one is seen. Their keys are what is chosen, a row of radio buttons for each place in them."""
    rows = [list(dict.fromkeys(each)) for each in zip(*charts, strict=True)]
    buttons = "".join(
        '<p class="choice">'
        + "".join(
            f'<label><input type="radio" name="{group}-{row}" class="r{row}-{place}"{"" if place else " checked"}> '
            f"{_text(name)}</label> "
            for place, name in enumerate(names)
        )
        + "</p>"
        for row, names in enumerate(rows)
    )
    panes = []
    for key, chart in charts.items():
        places = "-".join(str(names.index(name)) for names, name in zip(rows, key, strict=True))
        head, *body = chart.rows()
        panes.append(
            f'<div class="pane p{places}"><div class="scroll">{chart.svg()}</div><details class="numbers">'
            f"<summary>as a table</summary>{_table(head, body)}</details></div>"
        )
    return f'<div class="chosen">{buttons}{"".join(panes)}</div>'


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, escaped: bool = False) -> str:
    """A table; names of columns of numbers begin with '>'. escaped: whether the cells are HTML already."""
    classes = [' class="number"' if column.startswith(">") else "" for column in columns]
    head = "".join(
        f"<th{kind}>{_text(name.removeprefix('>'))}</th>" for kind, name in zip(classes, columns, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{kind}>{cell if escaped else _text(cell)}</td>" for kind, cell in zip(classes, row, strict=True))
        + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _text(text: str) -> str:
    """Names may hold anything, bytes that are no text and marks that turn a line around among them."""
    return escape(printable(text))


_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --quiet: #5b6470; --rule: #e5e7eb; --paper: #fff; --plus: #009e73;
  --minus: #d55e00; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --quiet: #9aa3af; --rule: #374151; --paper: #14171b; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 62rem;
  margin: 1.5rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; line-height: 1.25; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; overflow-wrap: anywhere; }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
.quiet { color: var(--quiet); font-size: .92em; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; } .scroll > svg { display: block; width: 100%; max-width: 42rem; height: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92em; }
td, th { text-align: left; vertical-align: top; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--rule);
  max-width: 20rem; overflow-wrap: break-word; }
th { font-weight: 600; } .number { text-align: right; font-variant-numeric: tabular-nums; }
td.number { white-space: nowrap; }
td:first-child, th:first-child { position: sticky; left: 0; background: var(--paper); }
summary { cursor: pointer; font-weight: 600; padding: .4rem 0; overflow-wrap: anywhere; }
.numbers > summary { font-weight: 400; font-size: .92em; color: var(--quiet); }
.choice { margin: .2rem 0; } .choice label, fieldset label { display: inline-block; margin-right: 1rem; cursor: pointer;
  overflow-wrap: anywhere; }
.choice label:has(:checked) { font-weight: 600; } .pane { display: none; padding-top: .5rem; }
legend { color: var(--quiet); font-size: .92em; }
fieldset { border: 1px solid var(--rule); border-radius: .4rem; margin: 0 0 .6rem; padding: .2rem .8rem .4rem; }
.shots { display: flex; flex-wrap: wrap; gap: .7rem; }
.shot { margin: 0; width: 5.5rem; font-size: .8rem; line-height: 1.3; }
.shot img { width: 100%; height: auto; image-rendering: pixelated; border: 1px solid var(--rule); display: block; }
.shot figcaption { overflow-wrap: anywhere; } .shot span { color: var(--minus); }
.bar { width: 6rem; height: .7rem; display: block; } .middle { stroke: var(--quiet); stroke-width: 1; }
.plus { fill: var(--plus); } .minus { fill: var(--minus); }
@media print {
  :root { --ink: #000; --quiet: #444; --paper: #fff; --rule: #bbb; }
  body { max-width: none; margin: 0; font-size: 11pt; }
  .choice, fieldset, .numbers { display: none; } .scroll { overflow: visible; } .fronts .pane { display: block; }
  section { break-inside: auto; } svg, .shot, tr { break-inside: avoid; }
  h2, h3, summary { break-after: avoid; } details::details-content { content-visibility: visible; block-size: auto; }
}
"""


def _choices(models: int) -> str:
    """The style of what is chosen: the pane whose radio buttons are on, and the lines of models whose box is ticked."""
    one = [(f".r0-{k}:checked", "", f".p{k}") for k in range(len(COSTS))]
    two = [(f".r0-{k}:checked", f":has(.r1-{j}:checked)", f".p{k}-{j}") for k in range(len(CURVES)) for j in range(2)]
    panes = ",".join(f".chosen:has({first}){second} > {pane}" for first, second, pane in one + two)
    hidden = ",".join(f".curves:has(.show-{k}:not(:checked)) .m{k}" for k in range(models))
    return f"{panes} {{ display: block; }}\n{hidden} {{ display: none; }}\n"
