"""Power cuts: a disk of its own, an ext4 image on a loop device, which is copied while it is in use.

A copy holds what the disk held at that moment, and not what the system was yet to write.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines import tracking
from pipelines.core.support.durable import sync_tree
from pipelines.maintenance.stale import stale
from pipelines.training.loop import checkpoint
from zoo.contract import FLOAT16, INT8, check_file, read_manifest

MEGABYTES = 64
SETTINGS = {"epochs": 48, "least_updates": 0, "precision": "float32"}


def _run(*command: object) -> None:
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{command[0]}: {done.stderr.strip()}")


@contextmanager
def mounted(image: Path, folder: Path) -> Iterator[Path]:
    """The disk in an image, in a folder, as long as the block lasts. What isn't on it by then is never written."""
    folder.mkdir(exist_ok=True)
    _run("mount", "-o", "loop", image, folder)
    try:
        yield folder
    finally:
        _run("umount", "--lazy", folder)  # a test that failed may be in it yet


@contextmanager
def disk(folder: Path) -> Iterator[tuple[Path, Path]]:
    """A new disk: its image, and the folder that it is mounted in. Skips the test where there is no loop device."""
    image = folder / "disk.img"
    try:
        with image.open("wb") as file:
            file.truncate(MEGABYTES * 2**20)
        _run("mkfs.ext4", "-q", "-m", "0", image)
        with mounted(image, folder / "disk"):
            pass
    except OSError as error:  # no such program, no root, a container without loop devices
        pytest.skip(f"a power cut takes an ext4 image on a loop device, which can't be had here ({error})")
    with mounted(image, folder / "disk") as place:
        (place / "lost+found").rmdir()
        sync_tree(place)
        yield image, place


def cut(image: Path, to: Path) -> Path:
    """What the disk holds at one moment: copied until nothing was written to it meanwhile."""
    while True:
        for copy in (to, other := to.with_suffix(".again")):
            _run("cp", "--sparse=always", image, copy)
        if subprocess.run(["cmp", "-s", to, other]).returncode == 0:
            other.unlink()
            return to


def empty_files(folder: Path) -> list[str]:
    """Files without content, but for locks and a journal before its first record."""
    found = [path for path in folder.rglob("*") if path.is_file() and not path.stat().st_size]
    return sorted(str(each.relative_to(folder)) for each in found if not each.name.endswith(("lock", ".jsonl")))


def work(progress: str) -> None:
    """Train, evaluate, export and quantize in this folder, again and again, and say after each that it is done."""
    from pipelines.evaluation.evaluate import evaluate
    from pipelines.exporting.export import export
    from pipelines.exporting.quantization.quantize import quantize
    from pipelines.training.train import train

    def done(what: str) -> None:
        with Path(progress).open("a", encoding="utf-8") as file:  # on another disk
            file.write(what + "\n")

    while True:
        run = train("mlp-small", "digits", settings=SETTINGS).run
        done(f"trained {run}")
        evaluate(run)
        done(f"evaluated {run}")
        export(run)
        done(f"exported {run}")
        quantize("exports/digits/mlp-small", margin=100)
        done(f"quantized {run}")


def copy_store(empty_database: Path, folder: Path) -> None:
    """An empty store, which is on the disk."""
    (folder / "mlruns").mkdir()
    shutil.copy(empty_database, folder / "mlruns")
    sync_tree(folder)


def look(done, resumed):
    """What was done is there, and all else is whole or absent, and goes on; the runs that did are added to a file."""
    from pipelines.training.train import train

    said = {line.split()[1] for line in done if line.startswith("trained")}
    stale()
    runs = {str(run.info.run_id): run.info.status for run in tracking.search("")}
    assert said <= runs.keys()
    for run, status in runs.items():
        assert status in ("FINISHED", "KILLED")
        assert status == "FINISHED" or run not in said
        goes_on = status == "KILLED" and checkpoint.exists(run)
        if goes_on:
            train(resume=run)
            with Path(resumed).open("a") as file:
                file.write(run + "\n")
        if status == "FINISHED" or goes_on:
            is_whole(run)
    exported = [line for line in done if line.startswith(("exported", "quantized"))]
    for folder in Path("exports").glob("*/*"):
        if not folder.name.startswith("."):
            assert whole(folder) == "mlp-small"
    if exported:
        manifest = read_manifest(Path("exports/digits/mlp-small"))
        assert manifest.metadata.run_id in runs
        if exported[-1] == f"quantized {manifest.metadata.run_id}":
            assert set(manifest.precisions) == {"float32", INT8, FLOAT16}


def is_whole(run):
    """A finished run holds its weights, and the evaluation and the export that its metrics speak of."""
    from pipelines.core.provenance.weights import weights_sha256

    tracked = tracking.load_run(run)
    assert weights_sha256(tracking.load_keras_model(run)) == tracked.tags["weights_sha256"]
    assert tracked.history["epoch"] == tuple(range(4, 49, 4))
    with tracking.open_client() as client:
        if "test_accuracy" in tracked.metrics:
            client.download_artifacts(run, "evaluation/evaluation.json")
        if tracked.was_exported:
            assert whole(Path(client.download_artifacts(run, "export"))) == "mlp-small"


def whole(folder):
    """The model of an export, every file of which is the one that its manifest names."""
    manifest = read_manifest(folder)
    for file in manifest.files:
        check_file(folder, manifest, file.path)
    return manifest.metadata.model
