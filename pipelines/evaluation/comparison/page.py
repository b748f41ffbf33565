"""The page of `zoo compare --html`: one file, no script, safe to open whatever models and classes are called.

What can be chosen on it is chosen by form controls that its style reacts to. What it shows is gathered here, and
page.html.j2 lays it out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import accumulate, product
from math import isfinite

import numpy as np
from PIL import Image

from pipelines.core.metrics.paired import PairedTest, paired_test
from pipelines.evaluation.comparison.candidates import Candidate
from pipelines.evaluation.comparison.details import Model, gather
from pipelines.evaluation.comparison.paired import Pair, Tested
from pipelines.evaluation.comparison.rows import RELIABILITY, Comparison, explained, fields_known, short
from pipelines.plotting.html import data_uri, render
from pipelines.plotting.svg import DASHES, Chart, Drawing, Front, Point, Series
from zoo.images import Pixels

IMAGES = 12  # that one of a pair alone classifies correctly, and as many of the other
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
AXES = ("epochs", "seconds")  # that learning curves are drawn over


def render_page(candidates: Sequence[Candidate], comparison: Comparison, tested: Sequence[Tested]) -> str:
    """The text of the page. What the runs of exports logged is looked up in the store, and noted where it isn't there.

    Raises TrackingError where the store fails, and ExportError where an evaluation in it is damaged.
    """
    models = gather(candidates, comparison, tested)
    names = [model.name for model in models]
    shown = dict(zip(names, short(names), strict=True))
    models = [replace(model, name=shown[model.name]) for model in models]
    sets = dict.fromkeys(name.partition("/")[0] for name in shown)
    return render(
        "evaluation/comparison/page.html.j2",
        title=f"{', '.join(sets)}: {f'{len(models)} models compared' if len(models) > 1 else models[0].name}",
        models=models,
        notes=[*comparison.notes, *_unknown_runs(models)],
        reliability=_reliability(models),
        fronts=cost_fronts(models),
        curves=learning_curves(models),
        groups=[_group(each, shown) for each in tested],
        tested_classes=_classes(models),
        differences=[
            *_differences("Recipes", "recipe", {model.name: model.recipe for model in models}),
            *_differences("Environments", "environment", {model.name: model.environment for model in models}),
        ],
        panes=[(len(COSTS), 1), (len(CURVES), len(AXES))],
    )


def _unknown_runs(models: Sequence[Model]) -> list[str]:
    found = [model.name for model in models if not model.known]
    which = "these exports" if len(found) == len(models) else ", ".join(found)
    return [f"no learning curves for {which}: their runs aren't in the store"] if found else []


# --- charts ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Choice:
    """Charts of which one is seen.

    options: what is chosen, a row of radio buttons each. panes: the place in each row that shows a chart, such as
    "0-1", and the chart. drawn: the places of the models that are drawn, for those that can be hidden.
    """

    options: Sequence[Sequence[str]]
    panes: Sequence[tuple[str, Drawing]]
    drawn: Sequence[int] = ()


def _choice(charts: Mapping[tuple[str, ...], Drawing], drawn: Sequence[int] = ()) -> Choice | None:
    """charts: by what is to be chosen for each. None where there is none."""
    if not charts:
        return None
    options = [list(dict.fromkeys(each)) for each in zip(*charts, strict=True)]
    panes = [
        ("-".join(str(names.index(name)) for names, name in zip(options, key, strict=True)), chart)
        for key, chart in charts.items()
    ]
    return Choice(options, panes, drawn)


def cost_fronts(models: Sequence[Model]) -> Choice | None:
    """Test accuracy against each cost; None where no model's accuracy is known with one."""
    charts: dict[tuple[str, ...], Drawing] = {}
    for cost, name in COSTS.items():
        points = [
            Point(m.name, f[cost], 100 * f["accuracy"], 100 * f["low"], 100 * f["high"], m.family)
            for m, f in ((model, model.metrics) for model in models)
            if {cost, "accuracy", "low", "high"} <= f.keys() and f[cost] > 0
        ]
        if points:
            charts[(name,)] = Front(f"Test accuracy against {name}", name, "test accuracy, %", points)
    return _choice(charts)


def learning_curves(models: Sequence[Model]) -> Choice | None:
    """Accuracy and loss by epochs and by seconds; None where nothing was measured. A family's lines have its color."""
    charts: dict[tuple[str, ...], Drawing] = {}
    drawn: set[int] = set()
    looks = _looks(models)
    for (metric, title), x in product(CURVES.items(), AXES):
        lines = []
        for place, model in enumerate(models):
            if points := _measured(model, metric, x):
                dash, shade = looks[place]
                lines.append(Series(model.name, *points, model.family, dash, shade, key=f"m{place}"))
                drawn.add(place)
        if lines:
            log = metric.endswith("loss") and all(value > 0 for line in lines for (value,) in line.y)
            name = title.partition(",")[0]
            charts[name, f"by {x}"] = Chart(f"{name} by {x}", x, title, lines, log_y=log)
    return _choice(charts, sorted(drawn))


def _measured(model: Model, metric: str, x: str) -> tuple[list[float], list[list[float]]] | None:
    """What a model measured, and at how many epochs or seconds; None where it measured nothing."""
    factor = 100 if metric.endswith("accuracy") else 1
    values, epochs = model.history.get(metric, ()), model.history.get("epoch", ())
    at = epochs if x == "epochs" else tuple(accumulate(model.history.get("seconds", ())))
    measured = [k for k, value in enumerate(values) if isfinite(value)]
    if not measured or len(at) != len(values):
        return None
    return [at[k] for k in measured], [[factor * values[k]] for k in measured]


def _looks(models: Sequence[Model]) -> list[tuple[int, int]]:
    """The dash and the shade of each model's lines, by which those of one family differ."""
    before: Counter[str] = Counter()
    looks = []
    for model in models:
        shade, dash = divmod(before[model.family], len(DASHES))
        looks.append((dash, shade % 3))
        before[model.family] += bool(model.family)  # one of no known family has a color of its own
    return looks


# --- pairs -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recall:
    """A class in a pair. test: of its images alone. first, second: the share that each classifies correctly, 0..1.

    share: the difference as a share of the largest one of a class, -1..1.
    """

    label: str
    test: PairedTest
    first: float
    second: float
    share: float


@dataclass(frozen=True)
class Shots:
    """Test images that only one of a pair classifies correctly: the clearest, of so many. text: what is known of one.

    images: (address, class, answer of the other one, its probability in percent, text) each.
    """

    name: str
    count: int
    images: Sequence[tuple[str, str, str, str, str]]


@dataclass(frozen=True)
class Duel:
    """A pair as the page shows it. classes: how many there are, of which the first `CLASSES` are shown."""

    pair: Pair
    better: str
    other: str
    recalls: Sequence[Recall]
    classes: int
    shots: Sequence[Shots]


@dataclass(frozen=True)
class Group:
    """The models of one data set. images: in its test. kind: images or rows."""

    data_set: str
    images: int
    kind: str
    duels: Sequence[Duel]


def _group(tested: Tested, shown: Mapping[str, str]) -> Group:
    data_set = tested.data_set
    duels = [_duel(tested, pair, shown) for pair in tested.pairs]
    return Group(data_set.name, len(data_set.test), data_set.kind, duels)


def _duel(tested: Tested, pair: Pair, shown: Mapping[str, str]) -> Duel:
    truth = tested.data_set.test.labels
    first, second = tested.correct(pair.better), tested.correct(pair.other)
    there = [k for k in range(tested.data_set.classes) if (truth == k).any()]
    tests = {k: paired_test(first[truth == k], second[truth == k]) for k in there}
    widest = max((abs(test.difference) for test in tests.values()), default=0) or 1.0
    recalls = [
        Recall(
            tested.data_set.labels[k],
            test,
            float(first[truth == k].mean()),
            float(second[truth == k].mean()),
            test.difference / widest,
        )
        for k, test in sorted(tests.items(), key=lambda found: -abs(found[1].difference))
    ]
    shots = [] if tested.data_set.columns else [_shots(tested, *pair_of, shown) for pair_of in _both_ways(pair)]
    return Duel(pair, shown[pair.better], shown[pair.other], recalls[:CLASSES], len(recalls), shots)


def _both_ways(pair: Pair) -> tuple[tuple[str, str], tuple[str, str]]:
    return (pair.better, pair.other), (pair.other, pair.better)


def _shots(tested: Tested, name: str, other: str, shown: Mapping[str, str]) -> Shots:
    """The images that one classifies correctly and the other one doesn't."""
    data_set, of_one, of_other = tested.data_set, tested.answers[name], tested.answers[other]
    alone = np.flatnonzero(tested.correct(name) & ~tested.correct(other))
    # The clearest cases first: one confident and correct, the other confident and wrong.
    confidence = of_one.confidence[alone] * of_other.confidence[alone]
    images = []
    for index in alone[np.argsort(-confidence, kind="stable")][:IMAGES].tolist():
        label, answer = (data_set.labels[k] for k in (data_set.test.labels[index], of_other.answer[index]))
        confident = f"{of_other.confidence[index]:.0%}"
        text = (
            f"test image {data_set.test.names[index]}, {label}: {shown[name]} predicts it "
            f"({of_one.confidence[index]:.0%}), {shown[other]} predicts {answer} ({confident})"
        )
        image = data_uri(_png(np.asarray(data_set.test.inputs[index])))
        images.append((image, label, answer, confident, text))
    return Shots(shown[name], len(alone), images)


def _png(image: Pixels) -> bytes:
    shot = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    shot.thumbnail((SIDE, SIDE))
    file = BytesIO()
    shot.save(file, "PNG", optimize=True)
    return file.getvalue()


# --- reliability, classes, recipes, environments --------------------------------------------------------------------


@dataclass(frozen=True)
class Reliabilities:
    """A row for each model. explained: what the columns mean, a line each."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    explained: Sequence[str]


def _reliability(models: Sequence[Model]) -> Reliabilities | None:
    """None where nothing is known of any."""
    fields = fields_known(model.reliability for model in models)
    if not fields:
        return None
    rows = [(model.name, *map(model.reliability.cell, fields)) for model in models]
    return Reliabilities(("model", *(f">{RELIABILITY[field][0]}" for field in fields)), rows, explained(fields))


@dataclass(frozen=True)
class Classes:
    """The recall of each class by each model, None where it isn't known; the first `CLASSES` of so many classes.

    rows: (class, test images, recalls 0..1, the best of them) each.
    """

    models: Sequence[str]
    count: int
    rows: Sequence[tuple[str, int, Sequence[float | None], float]]


def _classes(models: Sequence[Model]) -> list[Classes]:
    """A table for each set of test images, as far as their numbers by class show which is which."""
    by_images: dict[frozenset[tuple[str, int]], list[Model]] = {}
    for model in models:
        if model.classes:
            images = frozenset((label, count) for label, (count, _) in model.classes.items())
            by_images.setdefault(images, []).append(model)
    return [_classes_of(known) for known in by_images.values()]


def _classes_of(known: Sequence[Model]) -> Classes:
    """Those classes first on which the models differ most."""
    rows = []
    for label in dict.fromkeys(label for model in known for label in model.classes):
        found = [model.classes[label] for model in known if label in model.classes]
        recalls = [recall for _, recall in found]
        all_of_them = [model.classes[label][1] if label in model.classes else None for model in known]
        rows.append((max(recalls) - min(recalls), (label, found[0][0], all_of_them, max(recalls))))
    rows.sort(key=lambda row: -row[0])
    return Classes([model.name for model in known], len(rows), [row for _, row in rows[:CLASSES]])


@dataclass(frozen=True)
class Differences:
    """The fields of a recipe or an environment that aren't the same in all models, a row each."""

    title: str
    kind: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def _differences(title: str, kind: str, of_models: Mapping[str, Mapping[str, str]]) -> list[Differences]:
    """None where it is known of fewer than two models."""
    known = {name: fields for name, fields in of_models.items() if fields}
    if len(known) < 2:
        return []
    names = list(dict.fromkeys(name for fields in known.values() for name in fields))
    rows = [
        (name, *(_brief(name, fields.get(name, "not recorded")) for fields in known.values()))
        for name in names
        if len({fields.get(name) for fields in known.values()}) > 1
    ]
    return [Differences(title, kind, ("", *known), rows)]


def _brief(name: str, value: str) -> str:
    """Digests by their beginning."""
    if name == "code":
        return value[:12]
    if name == "commit" and value:
        commit, plus, _ = value.partition("+")
        return commit[:12] + (" and changes" if plus else "")
    return value or "none"
