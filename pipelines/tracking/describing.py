"""What people read in the MLflow UI: the names of runs, their descriptions, and the table of results.

A description is Markdown, in which MLflow shows HTML, too, though without scripts: names that others chose are escaped.
Images come from the run's own artifacts, by the address that the UI itself fetches them from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from pipelines.core.provenance.plan import Plan
from pipelines.tracking.resuming import resumed_by
from pipelines.tracking.store import import_mlflow, serving_command
from zoo.contract import renamed
from zoo.data import DataSet
from zoo.models import definition
from zoo.recipe import OF_ROWS

NOTE = "mlflow.note.content"
ENDED_EARLY = "ended_early"  # a tag of a run: why it ended before its last epoch
ENDED_BY, OBSERVER = "ended_by", "observer"  # a tag of a run that its plan alone would not have ended there
WEIGHTS_KEPT = "weights_kept"  # a tag of a run that averages: "averaged" or "as learned"
OURS = "zoo.description"  # a tag of a run: what of its description is kept up to date; what stands beside it is others'
# What older versions wrote around that. Where MLflow shows a description as it is, in lists, they would be read.
_BEGIN = "<!-- zoo: what stands between these two lines is kept up to date, what you write outside stays -->"
_END = "<!-- /zoo -->"
SMALL = "small"  # the folder with small copies of an evaluation's plots, for descriptions
LONGEST_NAME, LONGEST_NOTE, LABELS_LISTED = 120, 5000, 20  # letters, letters that any store takes, class names

RESULTS = "mlflow.sharedViewState.results"  # a tag of an experiment: ?viewStateShareKey=results opens it
_COLUMNS = {  # of the table of results, and how wide they are in pixels
    "tags.`family`": 80,
    "metrics.`test_accuracy`": 120,
    "metrics.`parameters`": 110,
    "metrics.`multiply_accumulates`": 170,
    "metrics.`latency`": 110,
    "metrics.`export_size`": 110,
    "metrics.`best_validation_accuracy`": 190,
    "attributes.`Models`": 120,
}


def shown(text: str) -> str:
    """Text as MLflow's Markdown shows it as it is, with as few signs as entities as that takes.

    MLflow shows descriptions as they are written, too: in lists. A colon makes an address a link; an underscore between
    letters is one. A backslash, which escapes elsewhere, doesn't before < in MLflow's.
    """
    return re.sub(
        r"[^\w .,/%()+='-]|(?<![^\W_])_|_(?![^\W_])", lambda sign: f"&#{ord(sign[0])};", " ".join(text.split())
    )


def run_name(plan: Plan) -> str:
    """The model, and what was decided otherwise than its recipe does: `lenet5 64x64 epochs=5 seed=2`."""
    own, usual = plan.recipe.to_json(), definition(plan.model).recipe.to_json()
    if plan.label is not None:
        usual |= OF_ROWS
    if own["epochs"] != usual["epochs"] and own["least_updates"] == 0:  # that is what naming the epochs means
        usual["least_updates"] = 0
    names = [field.name for field in fields(plan.recipe) if own[field.name] != usual[field.name]]
    own["teacher"] = "/".join(PurePath(own["teacher"]).parts[-2:])
    parts = [
        plan.model,
        *(["x".join(map(str, plan.size))] if plan.size else []),
        *([plan.resizing] if plan.size and plan.resizing != "stretch" else []),
        *([f"from {plan.source.title}"] if plan.source else []),
        *(f"{name}={own[name]}" for name in names),
    ]
    text = " ".join(parts)
    return text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…"


def update_description(client: Any, run_id: str) -> None:
    """Let a run's description say what the store knows of the run by now. One that isn't ours, or lacks tags, stays."""
    from mlflow.entities import RunTag

    found = client.get_run(run_id)
    if not {"fingerprint", "model", "data_set"} <= found.data.tags.keys():
        return
    before, ours = found.data.tags.get(NOTE, ""), describe_run(found)
    now = _around(before, found.data.tags.get(OURS, ""), ours)
    if now != before:
        client.log_batch(run_id, tags=[RunTag(NOTE, now), RunTag(OURS, ours)])  # both or neither


def update_experiment(client: Any, experiment: str, data_set: DataSet) -> None:
    """Give an experiment its description and its table of results, where it has none yet."""
    tags = client.get_experiment(experiment).tags
    if RESULTS not in tags:
        _tag(client, experiment, RESULTS, json.dumps(_results()))
    if not tags.get(NOTE):
        _tag(client, experiment, NOTE, describe_data(data_set, experiment))


def _tag(client: Any, experiment: str, key: str, value: str) -> None:
    """Set a tag of an experiment. Where another training sets it first at the same moment, that one is enough."""
    try:
        client.set_experiment_tag(experiment, key, value)
    except import_mlflow().MlflowException:
        if key not in client.get_experiment(experiment).tags:
            raise


def results_page(experiment: str) -> str:
    """The address of an experiment's table of results, relative to that of the UI."""
    return f"#/experiments/{experiment}/runs?viewStateShareKey=results&workflowType=machine_learning"


def _results() -> Mapping[str, Any]:
    """The state of the UI's list of runs: best first, with the columns that set models apart."""
    return {
        "orderByKey": "metrics.`test_accuracy`",
        "orderByAsc": False,
        "selectedColumns": list(_COLUMNS),
        "columnOrder": list(_COLUMNS),
        "columnWidths": _COLUMNS,
    }


def _around(before: str, last: str, ours: str) -> str:
    """The description with our part new, and the rest of it as somebody wrote it."""
    first, begin, rest = before.partition(_BEGIN)
    if begin:
        last, _, after = rest.partition(_END)
        whole = f"{first}{ours}{after}"
    elif last and last in before:
        whole = before.replace(last, ours, 1)
    else:
        whole = f"{before}\n\n{ours}" if before else ours
    return whole if len(whole) <= LONGEST_NOTE else before


# --- a run ---------------------------------------------------------------------------------------------------------


def describe_run(run: Any) -> str:
    """The Markdown of an `mlflow.entities.Run` of ours: results, plots, what can be done next."""
    metrics, tags, params = renamed(run.data.metrics), run.data.tags, run.data.params
    what = "rows" if "columns" in params else "images"
    facts = "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in _facts(metrics, tags, what))])
    lines = [_headline(metrics, run.info.status, what)]
    if "test_accuracy" in metrics:
        if metrics.get("epochs_trained") != 0:
            lines.append(_image(run.info, "curves", "Loss and accuracy by epoch"))
        lines += [facts, _image(run.info, "confusion", "Confusion matrix")]
    else:
        lines.append(facts)
    lines.append("\n".join(f"- {step}" for step in _next_steps(run, metrics, tags)))
    return "\n\n".join(lines)


def _headline(metrics: Mapping[str, float], status: str, what: str) -> str:
    if "test_accuracy" in metrics:
        text = f"Test accuracy **{metrics['test_accuracy']:.2%}** on {metrics.get('test_images', 0):,.0f} {what}"
        if {"test_accuracy_low", "test_accuracy_high"} <= metrics.keys():
            text += f" (95% interval {metrics['test_accuracy_low']:.2%} to {metrics['test_accuracy_high']:.2%})"
        return text
    if "best_validation_accuracy" in metrics:
        return f"Validation accuracy **{metrics['best_validation_accuracy']:.2%}**; not evaluated on the test set yet"
    ended = {"RUNNING": "In training", "KILLED": "Interrupted", "FAILED": "Failed", "FINISHED": "Trained"}
    return f"**{ended.get(status, status)}**"


def _facts(metrics: Mapping[str, float], tags: Mapping[str, str], what: str) -> list[tuple[str, str]]:
    """(name, in words) of what is known by now."""
    costs = [tags.get("family", "")]
    costs += [
        f"{metrics[name]:,.0f} {name.replace('_', '-')}"
        for name in ("parameters", "multiply_accumulates")
        if name in metrics
    ]
    found = [("model", f"{shown(tags['model'])}: {', '.join(costs)}"), ("data", shown(tags["data_set"]))]
    if "source" in tags:
        found.append(("transferred from", shown(tags["source"])))
    if "best_epoch" in metrics:
        accuracy = metrics.get("best_validation_accuracy")
        of_it = f", validation accuracy {accuracy:.2%}" if accuracy is not None else ""
        kept = f", {shown(tags[WEIGHTS_KEPT])}" if WEIGHTS_KEPT in tags else ""
        when = f"of epoch {metrics['best_epoch']:.0f}" if metrics["best_epoch"] else "of the head, on frozen features"
        found.append(("weights", f"{when}{kept}{of_it}"))
    if ENDED_EARLY in tags and "epochs_trained" in metrics:
        found.append(("ended early", f"after epoch {metrics['epochs_trained']:.0f}: {shown(tags[ENDED_EARLY])}"))
    if "input_share" in metrics:
        found.append(
            ("input pipeline", f"{metrics['input_share']:.0%} of the training time (reading and augmenting {what})")
        )
    names = {"mean": "on average", "seen": "on kinds imitated in training", "unseen": "on all others"}
    robust = {words: metrics.get(f"test_robust_{name}") for name, words in names.items()}
    if "test_robust_accuracy" in metrics:  # of runs that were evaluated before kinds were told apart
        robust["on four kinds at two strengths"] = metrics["test_robust_accuracy"]
    if shares := [f"{share:.2%} {words}" for words, share in robust.items() if share is not None]:
        found.append(("corrupted images", ", ".join(shares)))
    if "export_size" in metrics:
        parity = f"; probabilities within {metrics['largest_difference']:.0e} of Keras"
        found.append(("export", f"{metrics['export_size'] / 1000:,.0f} kB{parity}"))
    if "latency" in metrics:
        one = what.removesuffix("s")
        found.append(
            (
                "latency",
                f"{metrics['latency']:.3g} ms for one {one} (median, on one thread of the machine that exported it)",
            )
        )
    for precision in ("int8", "float16"):
        if f"{precision}_accuracy" in metrics:
            faster = metrics.get(f"{precision}_speedup_64")
            speed = f", {faster:.2f} times as fast with a batch of 64" if faster else ""
            size = f"{metrics[f'{precision}_size'] / 1000:,.0f} kB"
            found.append((precision, f"{metrics[f'{precision}_accuracy']:.2%}, {size}{speed}"))
    for name in sorted(metrics):
        timed = re.fullmatch(r"benchmark/(\w+)-(\w+)/batch-1/median", name)
        if timed:
            found.append((f"benchmark on {timed[1]}", f"{timed[2]}: {metrics[name]:.3g} ms for one {what[:-1]}"))
    return found


def _image(info: Any, name: str, text: str) -> str:
    """A plot of the evaluation below its title, small, which leads to the large one among the artifacts.

    MLflow leaves of an image in a description its address alone: no width, and no text for who can't see it.
    """
    page = f"#/experiments/{info.experiment_id}/runs/{info.run_id}/artifacts/evaluation/{name}.png"
    address = f"get-artifact?path={quote(f'evaluation/{SMALL}/{name}.png', safe='')}&run_uuid={info.run_id}"
    return f"[{text}]({page})\n\n[![{text}]({address})]({page})"


def _next_steps(run: Any, metrics: Mapping[str, float], tags: Mapping[str, str]) -> list[str]:
    short = run.info.run_id[:8]
    if run.info.status != "FINISHED":
        return [f"if it has stopped, to continue it: `{resumed_by(run.info.run_id, tags)}`"]
    steps = []
    if "test_accuracy" not in metrics:
        steps.append(f"evaluate it on the test set: `zoo evaluate {short}`")
    elif "export_size" not in metrics:
        steps.append(f"export it to ONNX: `zoo export {short}`")
    else:
        name = f"{tags['data_set']}/{tags['model']}"
        # The name of somebody's folder may hold what ends a span of code.
        code = f'`zoo.load("exports/{name}")`' if re.fullmatch(r"[\w./-]+", name) else "`zoo.load` of its export"
        steps += [f"load it in an app: {code}", f"serve it: `{serving_command(f'runs:/{run.info.run_id}/onnx')}`"]
        steps.append(f"export it again: `zoo export {short}`")
    info = run.info
    plan = f"#/experiments/{info.experiment_id}/runs/{info.run_id}/artifacts/plan.json"
    return [*steps, f"reproduce it: `zoo train --plan plan.json`, with [this plan]({plan})"]


# --- an experiment -------------------------------------------------------------------------------------------------


def describe_data(data_set: DataSet, experiment: str) -> str:
    """The Markdown of a data set's experiment."""
    what = "rows" if data_set.columns else "images"
    size = (
        f"{len(data_set.columns)} columns"
        if data_set.columns
        else f"{data_set.height}×{data_set.width}, {'grayscale' if data_set.channels == 1 else 'RGB'}"
    )
    splits = {"train": data_set.train, "validation": data_set.validation, "test": data_set.test}
    counts = ", ".join(f"{len(split):,} {name}" for name, split in splits.items())
    labels = ", ".join(shown(label[:60]) for label in data_set.labels[:LABELS_LISTED])
    more = f" and {len(data_set.labels) - LABELS_LISTED:,} more" if len(data_set.labels) > LABELS_LISTED else ""
    return (
        f"{shown(data_set.name)}: {what} ({size}), {counts}; {len(data_set.labels)} classes: {labels}{more}.\n\n"
        f"latency: milliseconds per {what[:-1]}, on one thread of the machine that exported it; export_size: bytes.\n\n"
        f"[Table of results]({results_page(experiment)})"
    )
