"""What tests share: a quiet TensorFlow, a working folder of their own, and models that exist for one test only."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if "PYTEST_XDIST_WORKER" in os.environ:  # workers whose threads wait for each other's take twice as long
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
# A step of tf2onnx that fails is an error here, rather than left out: then it copies no graph, a third of its time.
os.environ.setdefault("TF2ONNX_CATCH_ERRORS", "FALSE")

import gc
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

# What tests call reports what it found, too.
pytest.register_assert_rewrite("nothing_lost", "mlflow_pages", "power")


# The files that take longest, first: `--dist loadfile` gives a worker one after the other, and the last ones level out.
DEAR = (
    "test_run",
    "test_study",
    "test_views",
    "test_promote",
    "test_graph",
    "test_transfer",
    "test_train",
    "test_benchmark",
    "test_compare_runs",
    "test_calibrated_exports",
    "test_tables",
    "test_normalization",
    "test_verify_all",
    "test_contributing",
    "test_reproduce",
    "test_sweep",
    "test_quantize",
    "test_models",
    "test_averaging",
    "test_code",
    "test_filing",
    "test_damage",
    "test_upkeep",
    "test_efficientnet_lite",
    "test_card",
    "test_familiarity",
    "test_augmentation",
    "test_pretrained",
    "test_plots",
    "test_interrupted",
    "test_parallel",
    "test_heartbeat",
    "test_ui",
    "test_site",
    "test_verify",
    "test_sweep_space",
    "test_tracking",
)


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: a fifth of the time, a test waits for a process that it has started."""
    return min(4, (os.cpu_count() or 1) + 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: DEAR.index(item.path.stem) if item.path.stem in DEAR else len(DEAR))


def pytest_collection_finish() -> None:
    """A million objects of TensorFlow, MLflow and the tests stay to the end: the collector needn't look at them again.

    Every new node of a graph makes it look; as seldom as here, it takes 2 % of the time rather than 12.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
    wait_for_no_disk()
    if "PYTEST_XDIST_WORKER" in os.environ:
        one_thread_for_each_session()


@pytest.hookimpl(tryfirst=True)
def pytest_unconfigure() -> None:
    """A worker that has reported all its tests ends; the collector would look twice at all that it leaves."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        gc.freeze()


_fsync = os.fsync


def wait_for_no_disk() -> None:
    """Few tests' files have to survive a power cut, and a training waits dozens of times until they would.

    Processes that tests start do wait.
    """
    os.fsync = lambda _: None


@pytest.fixture
def waits_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that cut the power."""
    monkeypatch.setattr(os, "fsync", _fsync)


def one_thread_for_each_session() -> None:
    """Workers share the cores: a session's second thread would spin, waiting for work, for as long as the first works.

    Who asks for a number of threads gets it.
    """
    import onnxruntime

    start = onnxruntime.InferenceSession.__init__

    def start_with_one(self: Any, model: Any, sess_options: Any = None, *given: Any, **named: Any) -> None:
        options = sess_options or onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.intra_op_num_threads or 1
        start(self, model, options, *given, **named)

    onnxruntime.InferenceSession.__init__ = start_with_one


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a new store. It is laid out once and copied: the tables take MLflow a second.

    From here on this process doesn't wait for the disk after what MLflow writes, either, and reads the list of its
    schemas once rather than for each store.
    """
    from mlflow.store.db import utils
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    from pipelines import tracking

    @event.listens_for(Engine, "connect")
    def hurry(connection: Any, _: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous = OFF")

    utils._get_latest_schema_revision = cache(utils._get_latest_schema_revision)
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
        tracking.search("")
    return path


@pytest.fixture(scope="session")
def working_in(empty_database: Path) -> Callable[[Path], AbstractContextManager[Path]]:
    """Makes a folder the working folder for a while, with an empty store in it."""

    @contextmanager
    def work(folder: Path) -> Iterator[Path]:
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("MLFLOW_TRACKING_URI", raising=False)
            patch.chdir(folder)
            (folder / "mlruns").mkdir()
            shutil.copy(empty_database, folder / "mlruns")
            yield folder

    return work


@pytest.fixture
def store(tmp_path: Path, working_in: Callable[[Path], AbstractContextManager[Path]]) -> Iterator[Path]:
    """A working folder of the test's own, with an empty store."""
    with working_in(tmp_path):
        yield tmp_path


@pytest.fixture(scope="module")
def shared_store(
    tmp_path_factory: pytest.TempPathFactory, working_in: Callable[[Path], AbstractContextManager[Path]]
) -> Iterator[Path]:
    """A working folder for the tests of a file, with a store that is empty at first; the space is part of its name."""
    with working_in(tmp_path_factory.mktemp("my work")) as folder:
        yield folder


@pytest.fixture(scope="session")
def metadata_of():
    """What an export would say of a Keras model that no run has made: the accuracy is the model's own."""

    def metadata(name, model, data_set):
        from keras_answers import answers_of_keras

        from pipelines.core.provenance.weights import weights_sha256
        from zoo.contract import Metadata
        from zoo.models import definition

        answers = answers_of_keras(model, data_set.test.inputs)["probabilities"].argmax(axis=1)
        return Metadata(
            model=name,
            family=definition(name).family,
            data_set=data_set.name,
            data_digest=data_set.digest,
            labels=data_set.labels,
            height=data_set.height,
            width=data_set.width,
            channels=data_set.channels,
            recipe={},
            run_id="0" * 32,
            commit="",
            weights_sha256=weights_sha256(model),
            test_accuracy=float((answers == data_set.test.labels).mean()),
        )

    return metadata


@pytest.fixture
def registered():
    """The `model` decorator, forgetting after the test what it registered."""
    from zoo.models import model
    from zoo.models.registry import _models

    before = dict(_models)
    yield model
    _models.clear()
    _models.update(before)
