"""From a path or a name to a classifier: finds the export, checks its hash, and reads its contract."""

from __future__ import annotations

import errno
import os
import stat
import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

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

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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
    return whole(lambda: _load(_located(path_or_name), provider, threads, precision), path_or_name)


def _load(found: str, provider: str, threads: int | None, precision: str) -> Classifier:
    manifest = read_manifest(found) if os.path.isdir(found) else None
    file = os.path.join(found, MODEL_FILES[precision]) if manifest else found
    # Read once: what is checked is what is opened, whatever lies there by then.
    content = _content_of(found, manifest, precision) if manifest else read_model(file)
    check_self_contained(content, file)
    session, running_on = open_session(content, file, provider, threads)
    metadata = _read_metadata(session, file)
    if metadata.precision != precision and (manifest or precision != FLOAT32):
        raise ExportError(f"{file} is a file of precision {metadata.precision}, expected {precision}: load it as it is")
    opening = partial(load, os.path.join(os.getcwd(), found), provider, threads, precision)
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
            import random  # 1 ms, which only a replaced export has to wait for

            time.sleep(random.random() * PAUSE if attempt else 0)  # noqa: S311 (not in step with who writes)
    return read()


def _exports() -> str:
    """The folder of exports."""
    return os.environ.get("ZOO_EXPORTS") or "exports"


def _places(path_or_name: str | os.PathLike[str]) -> tuple[str, str]:
    """Where an export may lie: as it is named, and in the folder of exports."""
    return os.fspath(path_or_name), os.path.join(_exports(), path_or_name)


def _state(path_or_name: str | os.PathLike[str]) -> list[tuple[int, ...] | None]:
    """What differs when an export was replaced."""
    found: list[tuple[int, ...] | None] = []
    for place in _places(path_or_name):
        try:
            status = os.stat(os.path.join(place, MANIFEST_FILE))
            found.append((status.st_dev, status.st_ino, status.st_ctime_ns, status.st_size))
        except (OSError, ValueError):
            found.append(None)
    return found


def _is_moving(path_or_name: str | os.PathLike[str]) -> bool:
    """Whether the export is moved aside just now, by a command that puts another one there where nothing is faster."""
    import glob
    from pathlib import Path

    try:
        return any(
            not place.exists() and any(place.parent.glob(f".{glob.escape(place.name)}.*/old"))
            for place in map(Path, _places(path_or_name))
        )
    except (OSError, ValueError):
        return False


def _content_of(folder: str, manifest: Manifest, precision: str) -> bytes:
    """What the export's file of that precision holds, after it was found to be what the manifest says."""
    if precision not in manifest.precisions and precision != FLOAT32:
        raise ExportError(
            f"{folder} holds no {MODEL_FILES[precision]}, only {', '.join(manifest.precisions)}: "
            f"`zoo quantize {folder} --precision {precision}` makes one"
        )
    file = os.path.join(folder, MODEL_FILES[precision])
    content = read_model(file)
    check_content(content, file, manifest)
    return content


def find_export(path_or_name: str | os.PathLike[str]) -> Path:
    """The file or folder that is meant. A folder that holds no export gives way to an export of the same name."""
    from pathlib import Path

    return Path(_located(path_or_name))


def _located(path_or_name: str | os.PathLike[str]) -> str:
    """The same as text: pathlib takes 4 ms to import, a twentieth of the time to a first answer."""
    given = os.fspath(path_or_name)
    scheme, address, _ = given.partition(":/")
    if address and scheme in ADDRESSES:
        return os.fspath(_fetch(scheme, given))
    try:
        return _find(given, _exports())
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


def _mode(path: str) -> int:
    """Of what lies there; 0 where nothing does. OSError where nobody can tell."""
    try:
        return os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # the last: a null byte
        return 0
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return 0


def _find(given: str, exports: str) -> str:
    mode = _mode(given)
    if stat.S_ISREG(mode):
        return given
    for folder in (given, os.path.join(exports, given)):
        if os.path.lexists(os.path.join(folder, MANIFEST_FILE)):  # whatever it is: read_manifest says so
            return folder
    if stat.S_ISDIR(mode):
        return given  # read_manifest says what is missing there

    from pathlib import Path

    names = [path.parent.relative_to(exports).as_posix() for path in Path(exports).glob(f"*/*/{MANIFEST_FILE}")]
    looked = f"no file or folder is there, and in {exports}{os.sep}"
    if names:
        raise ExportError(f"{given} can't be loaded: {looked} {unknown('export', Path(given).as_posix(), names)}")
    raise ExportError(
        f"{given} can't be loaded: {looked} no export at all; `zoo export RUN` makes one, "
        "and ZOO_EXPORTS says where exports lie"
    )


def _read_metadata(session: Any, file: str) -> Metadata:
    """What the file says of itself, after its inputs and outputs were found to be those that it promises.

    Raises ExportError where they aren't, and where it says nothing that can be understood.
    """
    try:
        metadata = Metadata.from_properties(session.get_modelmeta().custom_metadata_map, file)
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


def _check_described(classifier: Classifier, manifest: Manifest, folder: str) -> None:
    """Raise ExportError where the manifest says otherwise than the file, which is the one that answers."""
    wrong = differences(classifier.metadata, manifest.metadata)
    if classifier.precision == FLOAT32 and classifier.map_size != manifest.map_size:
        wrong.append(ACTIVATION_MAP)
    if wrong:
        raise ExportError(
            f"{os.path.join(folder, MANIFEST_FILE)} and {MODEL_FILES[classifier.precision]} differ in "
            f"{', '.join(wrong)}, expected the same: export the model again"
        )
