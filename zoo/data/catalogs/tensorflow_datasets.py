"""tfds:NAME, a data set of TensorFlow Datasets (https://www.tensorflow.org/datasets)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from zoo.data.catalogs.kept import Catalogued, Example, file_name, first_line, list_kept, stamps
from zoo.data.folders.packed import Packed
from zoo.data.sources.download import Progress
from zoo.errors import DataError, MissingExtraError

# What it calls NAME/CONFIG:VERSION. Nothing with a namespace: that would run code from elsewhere.
_NAME = re.compile(r"\w+(/[\w.+-]+)?(:[\d.*]+)?")
_OWN = "tensorflow_datasets."
RETRIES = 2  # of a download: its own ten take minutes where there is no network


def list_tfds(name: str, folder: Path | None, label: str | None, on_progress: Progress) -> Packed:
    """The images of a data set, which TensorFlow Datasets downloads and prepares where it isn't prepared yet.

    name: NAME, NAME/CONFIG or NAME:VERSION. folder: where prepared data sets lie, by default where it looks itself.
    label: the feature with the class, where there are several.
    Raises DataError for a name that isn't there, and for a data set without one image and one class.
    """
    if not _NAME.fullmatch(name):
        raise DataError(
            f"tfds:{name} isn't a name in TensorFlow Datasets, expected one such as tfds:mnist or tfds:emnist/letters"
        )
    own = folder / name.partition(":")[0] if folder else None
    prepared = stamps(own) if own and own.is_dir() else ""
    key = (name, str(folder.resolve()) if folder else "", label, prepared)
    return list_kept(f"tfds-{file_name(name)}", key, partial(_catalogued, name, folder, label, own), on_progress)


def _catalogued(name: str, folder: Path | None, label: str | None, own: Path | None) -> Catalogued:
    for features in sorted(own.rglob("features.json")) if own else ():
        _check_features(features)
    try:
        import tensorflow_datasets as tfds
        from tensorflow_datasets.core.download import downloader
    except ModuleNotFoundError:
        raise MissingExtraError("TensorFlow Datasets", "tfds") from None

    downloader.MAX_RETRIES = RETRIES
    try:
        builder = tfds.builder(name, **({"data_dir": str(folder)} if folder else {}))
        image, wanted, names = _features(builder.info, f"tfds:{name}", label, tfds.features)
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    except DataError:
        raise
    except tfds.core.DatasetNotFoundError:
        looked = str(folder or "its catalog, and in its folder of prepared data sets")
        raise DataError(f"TensorFlow Datasets {tfds.__version__} has no {name!r}: looked in {looked}") from None
    except Exception as error:  # each data set has code of its own
        looked = str(folder or "TensorFlow Datasets' folder (TFDS_DATA_DIR, by default ~/tensorflow_datasets)")
        raise DataError(
            f"tfds:{name} isn't prepared in {looked}, and can't be downloaded ({first_line(error)}): prepare it on a "
            "machine with a network, and name its folder with --data-folder"
        ) from None
    decoders = tfds.decode.PartialDecoding({image: True, wanted: True}, decoders={image: tfds.decode.SkipDecoding()})
    # One file after the other: the same images in the same order each time.
    reading = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)

    def examples(split: str) -> Iterator[Example]:
        try:
            data = builder.as_dataset(split=split, decoders=decoders, read_config=reading, shuffle_files=False)
            for example in data.as_numpy_iterator():
                number = int(example[wanted])
                yield bytes(example[image]), names[number] if 0 <= number < len(names) else None
        except Exception as error:  # of TensorFlow
            reason = first_line(error)
            raise DataError(f"tfds:{name} can't be read completely ({reason}): remove {builder.data_dir}") from None

    sizes = {split: int(info.num_examples) for split, info in builder.info.splits.items()}
    splits: dict[str, Callable[[], Iterator[Example]]] = {split: partial(examples, split) for split in sizes}
    return Catalogued(splits, sum(sizes.values()), [f"took {image!r} as the image, {wanted!r} as the label"])


def _features(info: Any, name: str, label: str | None, kinds: Any) -> tuple[str, str, list[str]]:
    """The names of the image and of the class among the features, and the names of the classes."""
    features = dict(info.features.items()) if hasattr(info.features, "items") else {}
    images = [key for key, feature in features.items() if type(feature) is kinds.Image]
    labels = [key for key, feature in features.items() if type(feature) is kinds.ClassLabel]
    if label is not None:
        labels = [key for key in labels if key == label]
    if isinstance(info.supervised_keys, tuple) and len(info.supervised_keys) == 2:  # what its authors say
        images = [key for key in images if key == info.supervised_keys[0]] or images
        labels = [key for key in labels if key == info.supervised_keys[1]] or labels
    if len(images) != 1 or len(labels) != 1:
        shown = (
            ", ".join(f"{key} ({type(feature).__name__})" for key, feature in sorted(features.items()))
            or "none by name"
        )
        raise DataError(
            f"{name} has the features {shown}, expected one Image and one ClassLabel: name the label with --label, "
            "or take another data set"
        )
    return images[0], labels[0], [str(each) for each in features[labels[0]].names]


def _check_features(file: Path) -> None:
    """Raise DataError where a prepared data set names Python classes from elsewhere, which would be imported."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{file} can't be read as features of TensorFlow Datasets ({error})") from None
    waiting = [found]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            for key in ("pythonClassName", "python_class_name", "type"):
                if isinstance(each.get(key), str) and not each[key].startswith(_OWN):
                    raise DataError(f"{file} names {each[key]!r}, and code from elsewhere isn't run: it can't be used")
        waiting += each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
