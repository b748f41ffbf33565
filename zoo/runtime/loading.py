"""From a path or a name to a classifier: finds the export, checks its hash, and reads its contract."""

from __future__ import annotations

import glob
import os
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from zoo.contract import (
    ACTIVATION_MAP,
    FAMILIARITY,
    FLOAT32,
    LOGITS,
    MANIFEST_FILE,
    MODEL_FILES,
    PROBABILITIES,
    Manifest,
    Metadata,
    check_content,
    differences,
    read_manifest,
)
from zoo.errors import ExportError, MissingExtraError, unknown
from zoo.runtime.classifier import Classifier
from zoo.runtime.providers import open_session
from zoo.runtime.self_contained import check_self_contained, read_model

T = TypeVar("T")

# How often an export that was replaced while it was read is read again, and how many seconds before: a swap takes
# milliseconds, and where one follows the other, some reading lies between two of them.
ATTEMPTS, PAUSE = 100, 0.02
ADDRESSES = ("models", "runs")  # what a model's address in a tracking store begins with, before :/
RESOLVERS = "zoo.resolvers"  # the entry points by that name take an address, and give the path of a file


def load(
    path_or_name: str | os.PathLike[str],
    provider: str = "auto",
    threads: int | None = None,
    precision: str = FLOAT32,
) -> Classifier:
    """Load the classifier of an export.

    path_or_name: the export's folder, a single .onnx file that `zoo export` wrote, a name, or an address. A name, such
    as "digits/lenet5", is looked up in the folder of exports: $ZOO_EXPORTS, or ./exports. An address, such as
    "models:/fashion-mnist@champion" or "runs:/RUN/onnx", is fetched from the MLflow store, which requires the extra
    `train` and may raise TrackingError.
    provider: cpu, cuda, tensorrt, openvino, coreml, directml, or webgpu; "auto" uses cuda if it starts, otherwise cpu.
    A RuntimeWarning is issued if a provider leaves most of the work to the CPU, or if "auto" finds a GPU driver but
    CUDA doesn't start.
    threads: CPU threads for one image or batch; None leaves the choice to onnxruntime, which uses all cores.
    precision: float32, or int8 or float16 if `zoo quantize` added it. A single file has only its own precision.

    Raises ExportError if nothing is found, or if the file is damaged, wasn't written by `zoo export`, violates the
    contract, has another precision, stores weights in other files, or differs from what its manifest describes. Raises
    ProviderError for a provider that isn't available, and MissingExtraError if onnxruntime isn't installed.
    """
    if precision not in MODEL_FILES:
        raise ExportError(unknown("precision", precision, MODEL_FILES))
    return whole(lambda: _load(find_export(path_or_name), provider, threads, precision), path_or_name)


def _load(found: Path, provider: str, threads: int | None, precision: str) -> Classifier:
    manifest = read_manifest(found) if found.is_dir() else None
    file = found / MODEL_FILES[precision] if manifest else found
    # Read once: what is checked is what is opened, whatever lies there by then.
    content = _content_of(found, manifest, precision) if manifest else read_model(file)
    check_self_contained(content, file)
    session, running_on = open_session(content, file, provider, threads)
    metadata = _read_metadata(session, file)
    if metadata.precision != precision and (manifest or precision != FLOAT32):
        raise ExportError(f"{file} is a file of precision {metadata.precision}, expected {precision}: load it as it is")
    opening = partial(load, str(found.absolute()), provider, threads, precision)
    classifier = Classifier(session, metadata, running_on, opening)
    if manifest:
        _check_described(classifier, manifest, found)
    return classifier


def whole(read: Callable[[], T], path_or_name: str | os.PathLike[str]) -> T:
    """What `read` gives of an export that a command may replace meanwhile: once more where that made it fail.

    Between the reading of a manifest and of the file that it names there may be another export in the folder. Raises
    what `read` raises of an export that stays as it is.
    """
    for attempt in range(ATTEMPTS):
        before = _state(path_or_name)
        try:
            return read()
        except (ExportError, OSError):
            if _state(path_or_name) == before and not _is_moving(path_or_name):
                raise
            time.sleep(random.random() * PAUSE if attempt else 0)  # noqa: S311 (not in step with who writes)
    return read()


def _places(path_or_name: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Where an export may lie: as it is named, and in the folder of exports."""
    return Path(path_or_name), Path(os.environ.get("ZOO_EXPORTS") or "exports") / path_or_name


def _state(path_or_name: str | os.PathLike[str]) -> list[tuple[int, ...] | None]:
    """What differs when an export was replaced."""
    found: list[tuple[int, ...] | None] = []
    for place in _places(path_or_name):
        try:
            status = (place / MANIFEST_FILE).stat()
            found.append((status.st_dev, status.st_ino, status.st_ctime_ns, status.st_size))
        except (OSError, ValueError):
            found.append(None)
    return found


def _is_moving(path_or_name: str | os.PathLike[str]) -> bool:
    """Whether the export is moved aside just now, by a command that puts another one there where nothing is faster."""
    try:
        return any(
            not place.exists() and any(place.parent.glob(f".{glob.escape(place.name)}.*/old"))
            for place in _places(path_or_name)
        )
    except (OSError, ValueError):
        return False


def _content_of(folder: Path, manifest: Manifest, precision: str) -> bytes:
    """What the export's file of that precision holds, after it was found to be what the manifest says."""
    if precision not in manifest.precisions and precision != FLOAT32:
        raise ExportError(
            f"{folder} holds no {MODEL_FILES[precision]}, only {', '.join(manifest.precisions)}: "
            f"`zoo quantize {folder} --precision {precision}` makes one"
        )
    file = folder / MODEL_FILES[precision]
    content = read_model(file)
    check_content(content, file, manifest)
    return content


def find_export(path_or_name: str | os.PathLike[str]) -> Path:
    """The file or folder that is meant. A folder that holds no export gives way to an export of the same name."""
    scheme, address, _ = os.fspath(path_or_name).partition(":/")
    if address and scheme in ADDRESSES:
        return _fetch(scheme, os.fspath(path_or_name))
    given = Path(path_or_name)
    exports = Path(os.environ.get("ZOO_EXPORTS") or "exports")
    try:
        return _find(given, exports)
    except OSError as error:  # no permission on the way there, a name too long
        raise ExportError(f"{given} can't be loaded ({error.strerror}): name an export that can be read") from None


def _fetch(scheme: str, address: str) -> Path:
    """The file of a model in a tracking store, by whichever installed package can fetch it."""
    from importlib.metadata import entry_points  # 10 ms, which only an address has to wait for

    for resolver in entry_points(group=RESOLVERS, name=scheme):
        try:
            fetch = resolver.load()
        except ModuleNotFoundError as error:
            raise MissingExtraError(error.name or "a package", "train") from None
        fetched: Path = fetch(address)
        return fetched
    raise MissingExtraError("what fetches models from MLflow", "train")


def _find(given: Path, exports: Path) -> Path:
    if given.is_file():
        return given
    for folder in (given, exports / given):
        if os.path.lexists(folder / MANIFEST_FILE):  # whatever it is: read_manifest says so
            return folder
    if given.is_dir():
        return given  # read_manifest says what is missing there

    names = [path.parent.relative_to(exports).as_posix() for path in exports.glob(f"*/*/{MANIFEST_FILE}")]
    looked = f"no file or folder is there, and in {exports}{os.sep}"
    if names:
        raise ExportError(f"{given} can't be loaded: {looked} {unknown('export', given.as_posix(), names)}")
    raise ExportError(
        f"{given} can't be loaded: {looked} no export at all; `zoo export RUN` makes one, "
        "and ZOO_EXPORTS says where exports lie"
    )


def _read_metadata(session: Any, file: Path) -> Metadata:
    """What the file says of itself, after its inputs and outputs were found to be those that it promises.

    Raises ExportError where they aren't, and where it says nothing that can be understood.
    """
    try:
        metadata = Metadata.from_properties(session.get_modelmeta().custom_metadata_map, str(file))
        inputs, outputs = [
            {value.name: (value.type, list(value.shape)) for value in values}
            for values in (session.get_inputs(), session.get_outputs())
        ]
    except UnicodeDecodeError as error:
        raise ExportError(f"{file} holds damaged text ({error.reason}): export the model again") from None
    classes, wanted = len(metadata.labels), metadata.input
    expected: dict[str, tuple[str, list[Any]]] = {
        PROBABILITIES: ("tensor(float)", ["N", classes]),
        LOGITS: ("tensor(float)", ["N", classes]),
    }
    if ACTIVATION_MAP in outputs and not metadata.columns:  # the one that a file may leave out
        sides = [side for side in outputs[ACTIVATION_MAP][1][2:] if type(side) is int and side > 0]
        expected[ACTIVATION_MAP] = ("tensor(float)", ["N", classes, *(sides if len(sides) == 2 else ("h", "w"))])
    if metadata.familiarity:
        expected[FAMILIARITY] = ("tensor(float)", ["N"])
    takes = {wanted.name: (f"tensor({'float' if wanted.dtype == 'float32' else wanted.dtype})", [*wanted.shape])}
    if not (_are(inputs, takes) and _are(outputs, expected)):
        raise ExportError(
            f"{file} doesn't keep the contract: expected inputs {takes} and outputs {expected}, received {inputs} and "
            f"{outputs}; export the model again"
        )
    return metadata


def _are(received: dict[str, tuple[str, list[Any]]], expected: dict[str, tuple[str, list[Any]]]) -> bool:
    """Whether names, types and shapes are those expected, where a text stands for any dimension that is free."""
    return received.keys() == expected.keys() and all(
        received[name][0] == kind
        and len(received[name][1]) == len(shape)
        and all(
            not isinstance(side, int) if isinstance(wanted, str) else side == wanted
            for side, wanted in zip(received[name][1], shape, strict=True)
        )
        for name, (kind, shape) in expected.items()
    )


def _check_described(classifier: Classifier, manifest: Manifest, folder: Path) -> None:
    """Raise ExportError where the manifest says otherwise than the file, which is the one that answers."""
    wrong = differences(classifier.metadata, manifest.metadata)
    if classifier.precision == FLOAT32 and classifier.map_size != manifest.map_size:
        wrong.append(ACTIVATION_MAP)
    if wrong:
        raise ExportError(
            f"{folder / MANIFEST_FILE} and {MODEL_FILES[classifier.precision]} differ in {', '.join(wrong)}, expected "
            "the same: export the model again"
        )
