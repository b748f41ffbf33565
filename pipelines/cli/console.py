"""How results look in a terminal: tables on standard output, steps on standard error."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from pipelines.core.support.to_json import to_json
from zoo.contract import SAMPLES_FILE, SAMPLES_FOLDER, read_manifest
from zoo.errors import printable

if TYPE_CHECKING:
    from pipelines.evaluation.comparison.rows import Comparison
    from pipelines.evaluation.evaluate import Evaluation
    from pipelines.exporting.export import Exported
    from pipelines.exporting.quantization.quantize import Quantized
    from pipelines.exporting.verify import Verification
    from pipelines.inference.results import Benchmark
    from pipelines.maintenance.gc import Collected
    from pipelines.maintenance.runs import Runs
    from pipelines.maintenance.stale import StaleRun
    from pipelines.maintenance.sync import Synced
    from pipelines.publishing.demo import Demo
    from pipelines.publishing.gallery import Gallery
    from pipelines.publishing.list_models import ListedModel
    from pipelines.publishing.promote import Demotion, Promotion
    from pipelines.publishing.triton import TritonModel
    from pipelines.study import Claim, Studied
    from pipelines.training.reproduce import Reproduction
    from pipelines.training.train import Trained
    from zoo.data.report import Finding, Report
    from zoo.data.tables.report import TableReport
    from zoo.models.ledger import Ledger

# Where nobody looks at a terminal, in a log or a pipe, nothing is cut to 80 columns.
_output = Console(highlight=False, width=None if sys.stdout.isatty() else 200)

CLASSES_TOLD, DUPLICATES_TOLD, PROBLEMS_TOLD = 40, 20, 100  # in a terminal; --json and --html have all

STATUS_STYLES = {"finished": "green4", "running": "dodger_blue2", "failed": "red3", "killed": "dark_orange"}
FAMILY_STYLES = {"dense": "dark_orange", "conv": "dodger_blue2", "hybrid": "green4"}


def show(result: Any, as_json: bool, table: Callable[[Any], Any]) -> None:
    """Print a result, as JSON or as the table that the function makes of it."""
    if as_json:
        print(to_json(result))
    else:
        shown = table(result)
        if isinstance(shown, Table):
            _keep_whole(shown)
            # In a terminal that is too narrow, Rich would leave whole columns out.
            needed = Measurement.get(_output, _output.options.update(width=10_000), shown).minimum
            console = Console(highlight=False, width=max(_output.width, needed))
        else:
            console = _output
        console.print(shown, crop=False)


def comparison_table(comparison: Comparison) -> Table:
    """Models side by side: what `zoo compare` and `zoo run` end with."""
    table = _table("family", "model", ">parameters", ">test accuracy", ">95% interval", ">size", ">latency", ">parity")
    if several_seeds := any(row.spread for row in comparison.rows):
        table.add_column("over seeds", no_wrap=True, justify="right", overflow="crop")
    for row in comparison.rows:
        table.add_row(
            _family(row.family),
            Text(row.name),
            f"{row.parameters:,}",
            f"{row.accuracy:.2%}",
            f"{row.low:.2%} - {row.high:.2%}",
            f"{row.size / 1000:,.0f} kB",
            f"{row.latency * 1000:,.0f} µs",
            f"{row.parity:.0e}",
            f"{row.spread} ({len(row.spread.seeds)})" if row.spread else "",
        )
    for run in comparison.unexported:
        interval = "" if run.low is None or run.high is None else f"{run.low:.2%} - {run.high:.2%}"
        known = (_or_blank(run.parameters, ","), _or_blank(run.accuracy, ".2%"), interval)
        table.add_row(_family(run.family), Text(run.name), *known)
    table.caption = (
        "latency: one image or row on one thread of onnxruntime, the median\n"
        "parity: largest difference of a probability from Keras, over the whole test set"
    )
    if several_seeds:
        table.caption += "\nover seeds: mean and standard deviation of the test accuracy, and of how many trainings"
    table.caption_justify = "left"
    return table


def benchmark_table(benchmark: Benchmark) -> Table:
    """A line for each entry at each batch size; what is the same for all batch sizes stands in its first line."""
    from pipelines.inference.harness import ratio  # which imports NumPy: `zoo list` is faster without

    table = _table(
        "export",
        "runs in",
        "precision",
        ">batch",
        ">threads",
        ">latency, ms",
        ">rounds from .. to",
        ">p95",
        ">p99",
        ">a second",
        ">× first",
        ">of peak",
        ">cold start",
        ">memory",
        ">size",
    )
    for export in benchmark.exports:
        first = export.entries[0]
        for each in export.entries:
            for line, timing in enumerate(each.timings):
                of_all = (
                    f"{each.cold_start:.2f} s",
                    f"{each.peak_memory / 1e6:,.0f} MB",
                    f"{each.size / 1000:,.0f} kB",
                )
                table.add_row(
                    Text(export.name if line == 0 and each is first else ""),
                    Text(each.name if line == 0 else ""),
                    each.precision if line == 0 else "",
                    f"{timing.batch:,}",
                    f"{timing.threads}",
                    f"{timing.median:.3g}",
                    f"{min(timing.rounds):.3g} .. {max(timing.rounds):.3g}",
                    f"{timing.p95:.3g}",
                    f"{timing.p99:.3g}",
                    f"{timing.throughput:,.0f}",
                    "" if each is first else f"{ratio(first.at(timing.batch), timing).ratio:.2f}",
                    "" if timing.share is None else f"{timing.share:.1%}",
                    *(of_all if line == 0 else ("", "", "")),
                )
    peak = max(export.peak for export in benchmark.exports) / 1e9
    table.caption = (
        f"{printable(str(benchmark.machine))}; {benchmark.date}\n"
        "latency: of a batch, the median; from .. to: the medians of the rounds; × first: time over the first one's\n"
        f"of peak: multiply-accumulates a second, of {peak:,.0f} billion in a matrix product in float32 on all cores\n"
        "threads: the number that was fastest; cold start: a new process, from import to the first answer"
    )
    table.caption_justify = "left"
    return table


def show_notes(notes: Iterable[str]) -> None:
    """Sentences below a table."""
    for note in notes:
        _output.print(Text(printable(note)), soft_wrap=True)


def data_summary(report: Report) -> Table:
    """The classes of a folder, and how many images each has."""
    splits = report.splits if len(report.splits) > 1 else ()
    table = _table("class", ">images", *(f">{split}" for split in splits))
    for found in report.classes[:CLASSES_TOLD]:
        table.add_row(
            Text(printable(found.label)), f"{found.images:,}", *(f"{found.splits[split]:,}" for split in splits)
        )
    if len(report.classes) > CLASSES_TOLD:
        table.caption = f"and {len(report.classes) - CLASSES_TOLD} more classes"
    return table


def show_data(report: Report) -> None:
    """Below it: what the images are, each file that is wrong, and what to do."""

    sizes = ", ".join(f"{size.height}x{size.width} ({size.images:,})" for size in report.sizes[:5])
    more = f" and {len(report.sizes) - 5:,} more" if len(report.sizes) > 5 else ""
    _line("")
    _line(f"{report.readable:,} of {report.files:,} images can be read")
    for name, counts in (("formats", report.formats), ("modes", report.modes)):
        _line(f"{name}: " + ", ".join(f"{kind} ({count:,})" for kind, count in counts.items()))
    _line(f"sizes: {sizes}{more}")
    for same in report.same[:DUPLICATES_TOLD]:
        others = f" and {same.images - len(same.files):,} more" if same.images > len(same.files) else ""
        _line(f"{same.kind}: {' = '.join(same.files)}{others}", "dim")
    if len(report.same) > DUPLICATES_TOLD:
        _line(f"and {len(report.same) - DUPLICATES_TOLD:,} more groups of duplicates: --json or --html has them", "dim")
    for problems in (report.unreadable, report.wrongly_named, report.left_out):
        for problem in problems[:PROBLEMS_TOLD]:
            _line(f"{problem.kind}: {problem.sentence}", "dim")
        if len(problems) > PROBLEMS_TOLD:
            _line(f"and {len(problems) - PROBLEMS_TOLD:,} more such files: --json has them", "dim")
    _show_verdict(report.verdict, report.findings)


def columns_table(report: TableReport) -> Table:
    """The columns of a table, and what is in them."""
    table = _table("column", "kind", ">missing", ">different", "values")
    for column in report.columns:
        values = " .. ".join(column.values) if column.kind == "numeric" else ", ".join(column.values)
        table.add_row(
            Text(printable(column.name)),
            column.kind,
            f"{column.missing:,}" if column.missing else "",
            f"{column.different:,}",
            Text(printable(values)),
        )
    table.caption = "values: least, median and largest number, or the commonest categories"
    table.caption_justify = "left"
    return table


def show_table(report: TableReport) -> None:
    """Below it: the classes, and what to do."""
    _line("")
    copies = f", {report.copies:,} of them there already" if report.copies else ""
    _line(f"{report.rows:,} rows{copies}, {len(report.classes)} classes in column {report.label!r}:")
    for found in report.classes[:CLASSES_TOLD]:
        of_splits = ", ".join(f"{split} {found.splits[split]:,}" for split in report.splits)
        _line(f"  {found.label}: {found.rows:,}" + (f" ({of_splits})" if len(report.splits) > 1 else ""))
    if len(report.classes) > CLASSES_TOLD:
        _line(f"  and {len(report.classes) - CLASSES_TOLD} more")
    _show_verdict(report.verdict, report.findings)


def _show_verdict(verdict: str, findings: Sequence[Finding]) -> None:
    from zoo.data.folders.findings import obstacle

    _line("")
    _line(verdict, "bold")
    for finding in findings:
        if finding.sentence != obstacle(findings):  # that is the error that the command ends with
            _line(f"- {finding.sentence}")


def _line(text: str, style: str = "") -> None:
    _output.print(Text(printable(text), style=style), soft_wrap=True)


def show_pairs(comparison: Comparison) -> None:
    """Below a comparison: whether the best of it is better on the same images, or why nobody knows."""
    if comparison.pairs:
        table = _table("better", "other", ">points better", ">95% interval", ">p", ">right alone", ">tested")
        for pair in comparison.pairs:
            test = pair.test
            table.add_row(
                Text(pair.better),
                Text(pair.other),
                f"{100 * test.difference:.2f}",
                f"{100 * test.low:.2f} to {100 * test.high:.2f}",
                f"{pair.adjusted_p:.3f}" if pair.adjusted_p >= 0.001 else "<0.001",
                f"{test.only_first:,} to {test.only_second:,}",
                f"{test.images:,}",
            )
        _keep_whole(table)
        _output.print()
        _output.print(table, crop=False)
        told = (
            "the best with each of the others on the same test set, in points of accuracy (Newcombe's interval)\n"
            "p: of McNemar's test, for so many pairs (Holm); right alone: those that only one gets right"
        )
        _output.print(Text(told, style="dim italic"), soft_wrap=True)
    for note in comparison.notes:
        _output.print(Text(printable(note)), soft_wrap=True)


def next_steps(comparison: Comparison, exports: Path) -> None:
    """The two lines that a first run ends with: how to browse, how to load."""
    best = max(comparison.rows, key=lambda row: row.accuracy)
    if comparison.image:
        _output.print(Text(f"\nimage of the comparison: {comparison.image}"))
    folder = exports / best.name
    loaded = f'zoo.load("{folder.as_posix()}")'
    if read_manifest(folder).metadata.columns:
        row = f'json.load(open("{(folder / SAMPLES_FILE).as_posix()}", encoding="utf-8"))[0]["row"]'
        call = f"import json, zoo; print({loaded}.predict({row}))"
    else:
        sample = next(iter(sorted((folder / SAMPLES_FOLDER).glob("*.png"))), "image.png")
        call = f'import zoo; print({loaded}.predict("{sample}"))'
    # After `make demo` nothing is on the path yet.
    zoo, python = ("zoo", "python") if shutil.which("zoo") else map(os.path.relpath, (sys.argv[0], sys.executable))
    _output.print(Text.assemble(("browse the runs:  ", "bold"), f"{zoo} ui"), soft_wrap=True)
    _output.print(Text.assemble(("load in an app:   ", "bold"), f"{python} -c '{call}'"), soft_wrap=True)


def training_summary(trained: Trained) -> Text:
    """One line about a finished training, and the command that goes on from there."""
    if trained.validation_accuracy is None:
        found = f"trained on all images that are not for the test, {trained.epochs} epochs"
    else:
        best = f"best of {trained.epochs} epochs: {trained.best_epoch}"
        found = f"validation accuracy {trained.validation_accuracy:.2%} ({best})"
    return Text(
        f"{trained.model} on {trained.data}: {found} in {trained.seconds:,.0f} s\n"
        f"run {trained.run}; next: zoo evaluate {trained.run[:8]}, zoo export {trained.run[:8]}"
    )


def reproduction_summary(found: Reproduction) -> Text:
    """What came out, and the new run."""
    title = f"{found.model} on {found.data}, run {found.run[:8]} again as {found.again[:8]}"
    return Text(printable(f"{title}: {found}"))


def evaluation_table(evaluation: Evaluation) -> Table:
    """Accuracy by class, with the whole in the caption."""
    kind = "rows" if evaluation.robust_accuracy is None else "images"
    table = _table("class", f">{kind}", ">precision", ">recall", ">F1")
    for row in evaluation.classes:
        table.add_row(Text(row.label), f"{row.images:,}", *(f"{v:.2%}" for v in (row.precision, row.recall, row.f1)))
    table.caption = (
        f"accuracy {evaluation.accuracy:.2%} ({evaluation.low:.2%} - {evaluation.high:.2%})\n"
        f"on {evaluation.images:,} test {kind}"
    )
    if evaluation.robust_accuracy is not None:
        table.caption += f", {evaluation.robust_accuracy:.2%} on corrupted ones"
    return table


def export_summary(exported: Exported) -> Text:
    """Where the export lies, and what was proven of it."""
    accuracy = exported.metadata.test_accuracy
    return Text(
        f"{exported.folder}: verified, test accuracy {accuracy:.2%}, "
        f"largest difference from Keras {exported.metadata.parity['largest_difference']:.0e}"
    )


def triton_summary(model: TritonModel) -> Text:
    """Where the model lies in the repository, and how the server is started on it."""
    about = f"{model.metadata.data_set}/{model.metadata.model}"
    start = f"tritonserver --model-repository={model.folder.parent}"
    return Text(printable(f"{model.folder}: {about} for Triton Inference Server; {start}, and README.md there"))


def quantized_table(quantized: Quantized) -> Table:
    """A line a file: what it costs in accuracy, and what it gains."""
    table = _table("file", ">test accuracy", ">points", ">95% interval", ">same answer", ">size", ">of float32")
    for heading in (f"speed, {batch} at once" for batch in (1, 64)):
        table.add_column(heading, no_wrap=True, justify="right", overflow="crop")
    for found in quantized.files:
        difference = found.difference
        table.add_row(
            Text(found.file.name),
            f"{found.accuracy:.2%}",
            f"{100 * difference.difference:+.2f}",
            f"{100 * difference.low:+.2f} to {100 * difference.high:+.2f}",
            f"{found.same_top_class:.2%}",
            f"{found.size / 1000:,.0f} kB",
            f"{found.share:.0%}",
            *(f"{speedup:.2f}×" for speedup in found.speedups.values()),
        )
    table.title = Text(f"{quantized.folder}: verified", style="bold")
    lines = ["against model.onnx: points of accuracy on the test set; speed on one thread of this processor"]
    for found in quantized.files:
        if found.made:
            kept = ", ".join(found.made["float32_layers"]) or "none"
            lines.append(
                f"{found.precision}: calibrated by {found.made['calibration']}; layers kept in float32: {kept}"
            )
        if found.speedups and max(found.speedups.values()) < 1:
            lines.append(f"{found.precision} is slower here than float32: it is worth its size alone")
    lines += [printable(quantized.note)] if quantized.note else []
    table.caption = "\n".join(lines)
    table.caption_justify = "left"
    return table


def verification_table(verification: Verification) -> Table:
    """One line a check."""
    table = _table("check", "result")
    for check in verification.checks:
        table.add_row(Text(check.name), Text(check.result))
    table.title = Text(f"{verification.path}: verified", style="bold")
    return table


def verifications_table(verifications: tuple[Verification, ...]) -> Table:
    """A line an export: the accuracy that its file reached just now, and where the same is written."""
    table = _table("family", "export", ">accuracy found", ">manifest", "card", "page", "of the test set")
    for found in verifications:
        metadata, told = found.metadata, {check.name: check.result for check in found.checks}
        table.add_row(
            _family(metadata.family),
            Text(f"{metadata.data_set}/{metadata.model}"),
            _or_blank(found.accuracy, ".2%"),
            f"{metadata.test_accuracy:.2%}",
            "same" if "card" in told else "none",
            "same" if "page" in told else "none",
            Text(told["test set"]),
        )
    table.caption = f"all {len(verifications)} verified" if len(verifications) > 1 else "verified"
    table.caption_justify = "left"
    return table


def promotion_table(promotion: Promotion) -> Table:
    """A line a gate, and what became of it."""
    table = _table("gate", "passed", "found", "wanted")
    for gate in promotion.gates:
        table.add_row(
            gate.name, "yes" if gate.passed else "no", Text(printable(gate.found)), Text(printable(gate.wanted))
        )
    before = f"version {promotion.before}" if promotion.before else "none"
    became = (
        f"not promoted, {promotion.alias} stays {before}"
        if promotion.version is None
        else f"version {promotion.version} of {promotion.registered}, now {promotion.alias} (before: {before})"
    )
    table.title = Text(printable(f"{promotion.model}: {became}"), style="bold")
    if promotion.version is not None:
        uri = f"models:/{promotion.registered}@{promotion.alias}"
        table.caption = f'zoo.load("{uri}")\nmlflow models serve -m {uri} --env-manager local'
        table.caption_justify = "left"
    return table


def demotion_summary(demotion: Demotion) -> Text:
    """Which version the alias names now."""
    return Text(
        printable(f"{demotion.alias} of {demotion.registered}: version {demotion.version} (before: {demotion.before})")
    )


def demo_summary(demo: Demo) -> Text:
    """Where the page lies, and what to do with it."""
    return Text(
        f"{demo.page}: {', '.join(demo.exports)}, {demo.size / 1e6:.1f} MB; open it in a browser, or put it online"
    )


def claims_table(claims: tuple[Claim, ...]) -> Table:
    """Each experiment's name, verdict and claim."""
    table = _table("experiment", "verdict", "claim")
    table.columns[-1].no_wrap = False
    table.columns[-1].overflow = "fold"
    for each in claims:
        table.add_row(each.name, str(each.verdict or ""), each.claim)
    return table


def study_table(studied: tuple[Studied, ...]) -> Table:
    """A line for each effect of each experiment: what `zoo study` ends with."""
    table = _table("experiment", "verdict", "effect", ">mean", ">95% interval", "claimed", "so it is")
    for each in studied:
        first = [each.name, f"{each.verdict} (in full: {each.in_full})" if each.in_full else str(each.verdict)]
        for effect in each.effects:
            mean = f"{effect.written(effect.mean)} {effect.unit}"
            spread = "counted" if effect.exact else " to ".join(map(effect.written, effect.interval))
            table.add_row(*first, effect.name, mean, spread, effect.prediction, effect.judgement)
            first = ["", ""]
    return table


def gallery_summary(gallery: Gallery) -> Text:
    """Where the page and its charts lie."""
    return Text(f"{gallery.page}: {gallery.exports} exports, {', '.join(map(str, gallery.charts))}")


def roster_table(models: tuple[ListedModel, ...]) -> Table:
    """All models, a line for each export of one; blank where a model isn't shipped."""
    table = _table(
        "family",
        "model",
        "data set",
        ">parameters",
        ">multiply-acc.",
        ">sees",
        ">test accuracy",
        ">over seeds",
        ">in int8",
        "~what it is",
    )
    for model in models:
        field = model.receptive_field
        table.add_row(
            _family(model.family),
            Text(model.name),
            Text(model.data_set or ""),
            _or_blank(model.parameters, ","),
            _or_blank(model.multiply_accumulates, ","),
            "" if field is None else _sight(field or None),
            _or_blank(model.accuracy, ".2%"),
            _over_seeds(model),
            _or_blank(model.int8_accuracy, ".2%"),
            _short(model.summary),
        )
    return table


def runs_table(runs: Runs) -> Table:
    """A line a run: what `zoo runs` prints."""
    asked = sorted({name for run in runs.runs for name in run.asked})
    table = _table(
        "run",
        "started",
        "status",
        "family",
        "name",
        "data set",
        ">parameters",
        ">multiply-acc.",
        ">test accuracy",
        ">latency",
        ">export",
        *(f">{name}" for name in asked),
    )
    for run in runs.runs:
        table.add_row(
            run.run[:8],
            f"{datetime.fromisoformat(run.started).astimezone():%Y-%m-%d %H:%M}",
            Text(run.status, style=STATUS_STYLES.get(run.status, "")),
            _family(run.family),
            Text(printable(run.name)),
            Text(printable(run.data_set)),
            _or_blank(run.parameters, ","),
            _or_blank(run.multiply_accumulates, ","),
            _or_blank(run.test_accuracy, ".2%"),
            "" if run.latency is None else f"{1000 * run.latency:,.0f} µs",
            "" if run.export_size is None else f"{run.export_size / 1000:,.0f} kB",
            *(Text(printable(_asked(run.asked.get(name)))) for name in asked),
        )
    shown = len(runs.runs)
    several = "run" if runs.found == 1 else "runs"
    table.caption = (
        f"{shown:,} of {runs.found:,} runs: --most shows more" if shown < runs.found else f"{shown:,} {several}"
    )
    table.caption_justify = "left"
    return table


def _asked(value: float | str | None) -> str:
    return value if isinstance(value, str) else _or_blank(value, ".6g")


def stale_table(stale: tuple[StaleRun, ...]) -> Table | Text:
    """What `zoo runs --stale` found and ended, and how each goes on."""
    if not stale:
        return Text("no run is stale")
    table = _table("run", "model", "data set", "host", ">process", "last seen", "why", "to go on")
    for each in stale:
        on = f"zoo train --resume {each.run[:8]}" if each.resumable else "no checkpoint here: train anew"
        seen = f"{datetime.fromtimestamp(each.seen).astimezone():%Y-%m-%d %H:%M}"
        names = (Text(printable(name)) for name in (each.model, each.data_set, each.host))
        table.add_row(each.run[:8], *names, str(each.process), seen, each.reason, on)
    return table


def synced_table(synced: tuple[Synced, ...]) -> Table | Text:
    """What `zoo sync` did."""
    if not synced:
        return Text("nothing waits to be sent")
    table = _table("run", ">sent", ">waiting", "why")
    for each in synced:
        table.add_row(each.run[:8], str(each.sent), str(each.waiting), Text(printable(each.reason)))
    return table


def collected_table(collected: Collected) -> Table | Text:
    """What `zoo gc` would remove, or did, and what it leaves alone."""
    if not collected.leftovers and not collected.kept:
        return Text("nothing is left behind")
    table = _table("", "what", "run", ">size", "why")
    for verb, several in (("removed" if collected.removed else "goes", collected.leftovers), ("stays", collected.kept)):
        for each in several:
            table.add_row(verb, each.kind, each.run[:8], f"{each.size / 1e6:,.1f} MB", Text(printable(each.reason)))
    verb = "were removed" if collected.removed else "would be removed: `zoo gc --yes` does it"
    table.caption = f"{collected.size / 1e6:,.1f} MB {verb}"
    return table


def _or_blank(figure: float | None, form: str) -> str:
    return "" if figure is None else format(figure, form)


def _over_seeds(model: ListedModel) -> str:
    if model.mean_accuracy is None or model.spread is None:
        return ""
    return f"{model.mean_accuracy:.2%} ± {100 * model.spread:.2f} ({model.seeds})"


def ledger_table(ledger: Ledger) -> Table:
    """Layer by layer, with the totals at the foot."""
    sides = "×".join(map(str, ledger.input))
    takes = f"{sides} images" if len(ledger.input) == 3 else f"rows of {sides} columns"
    table = _table("layer", "~kind", "output", "formula", ">parameters", ">multiply-acc.", ">sees", show_footer=True)
    for layer in ledger.layers:
        table.add_row(
            layer.name,
            layer.kind,
            "×".join(map(str, layer.shape)),
            layer.formula,
            f"{layer.parameters:,}" if layer.parameters else "",
            f"{layer.multiply_accumulates:,}" if layer.multiply_accumulates else "",
            _sight(layer.receptive_field),
        )
    table.title = Text(f"{ledger.model}, {takes}, {ledger.classes} classes", style="bold")
    footers = ("total", "", "", "", f"{ledger.parameters:,}", f"{ledger.multiply_accumulates:,}", "")
    for column, footer in zip(table.columns, footers, strict=True):
        column.footer = footer
    table.caption = "sees: the square of pixels that one output can depend on, in theory"
    return table


def _sight(field: int | None) -> str:
    return "all" if field is None else f"{field}×{field}"


def _short(summary: str) -> Text:
    return Text(summary.partition(" (")[0].partition(":")[0].rstrip("."))


def _family(family: str) -> Text:
    return Text(family, style=FAMILY_STYLES.get(family, ""))


def _table(*columns: str, show_footer: bool = False) -> Table:
    """A table. Names of columns of numbers begin with '>', of those that may be cut in a narrow terminal with '~'."""
    table = Table(box=None, pad_edge=False, header_style="bold", show_footer=show_footer, footer_style="bold")
    for column in columns:
        right, cut = column.startswith(">"), column.startswith("~")
        table.add_column(
            column.lstrip(">~"),
            no_wrap=True,
            justify="right" if right else "left",
            overflow="ellipsis" if cut else "crop",
        )
    return table


def _keep_whole(table: Table) -> None:
    """A number or a name cut short is worse than a line that runs past the edge."""
    for column in table.columns:
        if column.overflow == "crop":
            cells = (column.header, column.footer, *column.cells)
            column.min_width = max(cell_len(str(cell)) for cell in cells)
