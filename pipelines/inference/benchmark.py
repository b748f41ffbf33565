"""`zoo benchmark EXPORT…`: how fast exports answer on this machine, and beside them other libraries, in turns."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pipelines.core.provenance.machine import describe_machine, versions, versions_of
from pipelines.core.support.to_json import to_json
from pipelines.evaluation.predictions import made_up
from pipelines.inference.harness import ALIKE, Entry, Turns, WorkerError, time_in_turns
from pipelines.inference.results import Benchmark, Benchmarked
from zoo.contract import FLOAT32, MODEL_FILES, read_manifest
from zoo.errors import ExportError, ProviderError, TrackingError
from zoo.runtime import load
from zoo.runtime.loading import find_export

logger = logging.getLogger("zoo.inference")

BATCHES = (1, 8, 64, 256)


def benchmark(
    exports: Sequence[str | os.PathLike[str]],
    *,
    providers: Sequence[str] = ("cpu",),
    precisions: Sequence[str] = (FLOAT32,),
    batches: Sequence[int] = BATCHES,
    threads: Sequence[int] = (),
    seconds: float = 1.0,
    peers: Sequence[str] = (),
    plot: Path | None = None,
    log: bool = False,
) -> Benchmark:
    """Measure exports on this machine: latency, throughput, cold start, memory, and the share of the machine's peak.

    exports: folders, or names such as digits/lenet5. providers, precisions: each export runs on each of them, in
    separate processes. batches: images, or rows, at a time. threads: the numbers to try; for each batch size, the best
    one counts. By default 1, 2, 4 … and all cores. seconds: for each cell of the table, spread over rounds. peers:
    names in `pipelines.inference.peers.PEERS`, libraries that run the same model for comparison. plot: a PNG to draw.
    log: add the metrics to the run that made the export, if it is in the tracking store.
    Each step is logged to `zoo.inference`.
    Raises ExportError for an export that doesn't exist, is damaged, or has no file of a precision; ProviderError for a
    provider that isn't available or doesn't start.
    """
    from pipelines.inference.peers import PACKAGES

    folders = [find_export(export) for export in exports]
    for file in filter(Path.is_file, folders):
        raise ExportError(f"{file} is a file, expected an export's folder: its manifest holds what is measured")
    if plot is not None:  # before minutes of measuring
        _check_plot(plot)
    own = [(folder, _own(folder, providers, precisions)) for folder in folders]  # what can't run is reported at once
    measured = []
    for folder, entries in own:
        measured.append(_measure(folder, entries, peers, batches, threads, seconds))
    result = Benchmark(
        exports=tuple(measured),
        machine=describe_machine(),
        versions={**versions(), **versions_of(PACKAGES)},
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=seconds,
        plot=plot,
    )
    if plot is not None:
        from pipelines.inference.plots import speeds

        try:
            speeds(plot, result.exports)
        except OSError as error:
            raise ExportError(f"{plot} can't be written ({error.strerror}): name another file") from None
    return _logged(result, folders) if log else result


def _check_plot(plot: Path) -> None:
    why = "it is a folder" if plot.is_dir() else ""
    if not plot.parent.is_dir() or not os.access(plot.parent, os.W_OK):
        why = f"{plot.parent} isn't a folder that can be written to"
    if why:
        raise ExportError(f"{plot} can't be written ({why}): name another file")


def _own(folder: Path, providers: Sequence[str], precisions: Sequence[str]) -> list[Entry]:
    """The export on each provider, in each precision, after each was opened there once."""
    found = []
    for precision in precisions:
        for provider in providers:
            load(folder, provider, precision=precision)
            found.append(Entry(f"zoo on {provider}", "zoo", folder, precision, provider))
    return found


def _measure(
    folder: Path,
    own: Sequence[Entry],
    peers: Sequence[str],
    batches: Sequence[int],
    threads: Sequence[int],
    seconds: float,
) -> Benchmarked:
    manifest = read_manifest(folder)
    metadata = manifest.metadata
    name = f"{metadata.data_set}/{metadata.model}"
    files = {entry.precision: folder / MODEL_FILES[entry.precision] for entry in own}
    with tempfile.TemporaryDirectory() as temporary:
        others: list[Entry] = []
        notes: list[str] = []
        if peers:
            from pipelines.inference.peers import prepare

            logger.info("%s: writing the files of its peers", name)
            others, notes = prepare(folder, files, peers, Path(temporary))
        multiply_accumulates = manifest.metrics.get("multiply_accumulates")
        logger.info("%s: measuring", name)
        try:
            turns = time_in_turns(
                [*own, *others],
                made_up(metadata, max(batches)),
                batches,
                threads=threads,
                seconds=seconds,
                multiply_accumulates=multiply_accumulates,
            )
        except WorkerError as error:
            raise ProviderError(f"{name} can't be measured: {error}") from None
    sizes = {entry.precision: files[entry.precision].stat().st_size for entry in own}
    entries = tuple(replace(each, size=sizes[each.precision]) if each.provider else each for each in turns.measured)
    return Benchmarked(
        name=name,
        family=metadata.family,
        multiply_accumulates=None if multiply_accumulates is None else int(multiply_accumulates),
        peak=turns.peak,
        entries=entries,
        notes=(*notes, *turns.left_out, *_strangers(turns)),
    )


def _strangers(turns: Turns) -> list[str]:
    """Who answers otherwise than the first in float32, so that its times are those of something else."""
    return [
        f"{each.name} (float32) answers otherwise than the first: probabilities differ by {each.difference:.0e}"
        for each in turns.measured
        if each.precision == FLOAT32 and not each.difference <= ALIKE
    ]


def _logged(result: Benchmark, folders: Sequence[Path]) -> Benchmark:
    """The same, after each export's metrics were added to its run, with a note where the store has none."""
    from pipelines import tracking

    exports = []
    for found, folder in zip(result.exports, folders, strict=True):
        try:
            run = tracking.find_maker(read_manifest(folder).metadata.run_id)
            tracking.log_metrics(run, _metrics(found))
            with tempfile.TemporaryDirectory() as temporary:
                one = replace(result, exports=(found,), plot=None)
                (Path(temporary) / "benchmark.json").write_text(to_json(one) + "\n", encoding="utf-8")
                if result.plot is not None:
                    (Path(temporary) / "benchmark.png").write_bytes(result.plot.read_bytes())
                tracking.log_folder(run, Path(temporary), "benchmark")
            note = f"{found.name} is logged to run {run}"
        except TrackingError as error:
            note = f"{found.name} isn't logged: {error}"
        exports.append(replace(found, notes=(*found.notes, note)))
    return replace(result, exports=tuple(exports))


def _metrics(found: Benchmarked) -> dict[str, float]:
    """Of the export itself, as a run keeps them; its peers are in benchmark.json."""
    metrics: dict[str, float] = {}
    for each in [each for each in found.entries if each.provider]:
        where = f"benchmark/{each.provider}-{each.precision}"
        metrics |= {f"{where}/cold_start": each.cold_start, f"{where}/peak_memory": float(each.peak_memory)}
        for timing in each.timings:
            for name in ("median", "p95", "p99", "throughput"):
                metrics[f"{where}/batch-{timing.batch}/{name}"] = getattr(timing, name)
    return metrics
