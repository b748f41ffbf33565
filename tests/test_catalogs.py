"""tfds:NAME and hf:USER/NAME, from small data sets that the two packages have written themselves."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from published import jpeg

from pipelines.cli import main
from pipelines.core.provenance.plan import make_plan
from pipelines.datasets.check import data_check
from pipelines.training.planning.choosing import choose
from zoo.data import load
from zoo.data.catalogs.kept import Catalogued, list_kept
from zoo.data.registry import absolute
from zoo.errors import DataError, MissingExtraError
from zoo.images import read_image, resize
from zoo.models import definition

pytestmark = pytest.mark.filterwarnings("ignore")  # both packages' own
CLASSES = ("cat", "dog")
COUNTS = {"train": 12, "validation": 4, "test": 6}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def told(data: str, **options) -> str:
    with pytest.raises(DataError) as error:
        load(data, **options)
    message = str(error.value)
    assert "\n" not in message
    return message


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    return subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False)


def examples(split: str) -> list[tuple[bytes, int]]:
    """JPEGs of two sizes, and their classes in turn."""
    first = sum(COUNTS[name] for name in COUNTS if name < split)
    return [(jpeg(first + k, 20 + k % 2), k % 2) for k in range(COUNTS[split])]


def check(data) -> None:
    """Whether it is what was written: splits, classes, and images at the size that was asked for."""
    assert data.labels == CLASSES
    for split in COUNTS:
        found, expected = getattr(data, split), examples(split)
        np.testing.assert_array_equal(found.labels, [label for _, label in expected])
        for image, (content, _) in zip(found.inputs, expected, strict=True):
            np.testing.assert_array_equal(image, resize(read_image(content, 3), 16, 16, "crop"))


# --- TensorFlow Datasets ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A folder in which TensorFlow Datasets has prepared three small data sets, whose code it doesn't know any more."""
    tfds = pytest.importorskip("tensorflow_datasets")
    folder = tmp_path_factory.mktemp("tensorflow_datasets")
    image = tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg")
    label, coarse = (tfds.features.ClassLabel(names=names) for names in (CLASSES, ["animal"]))
    prepare(tfds, folder, "pets", {"image": image, "label": label}, ("image", "label"))
    prepare(tfds, folder, "two_labels", {"image": image, "label": label, "coarse": coarse}, None)
    prepare(tfds, folder, "no_image", {"text": tfds.features.Text(), "label": label}, None)
    return folder


def prepare(tfds, folder: Path, called: str, features: dict, keys: tuple[str, str] | None) -> None:
    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = called
        VERSION = tfds.core.Version("1.2.3")

        def _info(self):
            described = tfds.features.FeaturesDict(features)
            return tfds.core.DatasetInfo(builder=self, features=described, supervised_keys=keys)

        def _split_generators(self, manager):
            return {split: self._generate_examples(split) for split in COUNTS}

        def _generate_examples(self, split):
            for k, (content, number) in enumerate(examples(split)):
                values = {"image": io.BytesIO(content), "label": number, "coarse": 0, "text": "hello"}
                yield f"{k:03}", {name: values[name] for name in features}

    Builder(data_dir=str(folder)).download_and_prepare()


def test_a_data_set_of_tensorflow_datasets_keeps_its_splits_its_classes_and_its_images(prepared, tmp_path, monkeypatch):
    data = load("tfds:pets", folder=prepared, size=(16, 16), resizing="crop")
    assert (data.name, data.origin) == ("tfds-pets", "tfds:pets")
    assert choose("tfds:pets", data_folder=prepared).size == (128, 128), "seen as they are"
    by_content = {content: label for split in COUNTS for content, label in examples(split)}
    assert data.labels == CLASSES
    for split, count in COUNTS.items():
        found = getattr(data, split)
        expected = {resize(read_image(c, 3), 16, 16, "crop").tobytes(): label for c, label in by_content.items()}
        assert len(found) == count
        assert [expected[image.tobytes()] for image in found.inputs] == found.labels.tolist()
    assert "took 'image' as the image, 'label' as the label" in data.report.understood
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)  # it isn't asked again
    assert load("tfds:pets", folder=prepared, size=(16, 16), resizing="crop").digest == data.digest


def counted(report) -> dict[str, dict[str, int]]:
    """Class -> split -> images, as a report has them."""
    return {found.label: dict(found.splits) for found in report.classes}


HALVES = {split: count // 2 for split, count in COUNTS.items()}  # of each of the two classes


def test_a_data_set_of_tensorflow_datasets_is_checked_as_it_is_trained_on(prepared, capsys):
    assert counted(data_check("tfds:pets", folder=prepared)) == dict.fromkeys(CLASSES, HALVES)
    assert main(["data", "check", "tfds:pets", "--data-folder", str(prepared)]) == 0
    assert "took 'image' as the image, 'label' as the label" in capsys.readouterr().out
    assert main(["data", "check", "tfds:pets", "--data-folder", str(prepared), "--groups", "none"]) == 1
    assert "--groups requires your own folder or table" in capsys.readouterr().err
    with pytest.raises(DataError, match="a data folder requires tfds:NAME"):
        data_check(prepared, folder=prepared)


def test_which_features_are_image_and_class_is_told_by_their_types_or_asked(prepared):
    message = told("tfds:two_labels", folder=prepared)
    assert "has the features coarse (ClassLabel), image (Image), label (ClassLabel), expected one Image" in message
    assert load("tfds:two_labels", folder=prepared, label="label").labels == CLASSES
    assert "features label (ClassLabel), text (Text), expected" in told("tfds:no_image", folder=prepared)


def test_a_name_that_is_not_there_says_where_it_looked(prepared, tmp_path):
    assert f"has no 'pet': looked in {prepared}" in told("tfds:pet", folder=prepared)
    assert "has no 'no_such_thing': looked in its catalog" in told("tfds:no_such_thing")
    assert "isn't a name in TensorFlow Datasets" in told("tfds:kaggle:pets")
    assert "isn't a name in TensorFlow Datasets" in told("tfds:../pets")
    assert not list((tmp_path / "cache").rglob("*.tar"))


def test_a_prepared_data_set_that_names_code_of_its_own_is_refused(prepared, tmp_path):
    folder = tmp_path / "hostile"
    shutil.copytree(prepared / "pets", folder / "pets")
    features = folder / "pets" / "1.2.3" / "features.json"
    found = json.loads(features.read_text())
    found["pythonClassName"] = "evil.Features"
    features.write_text(json.dumps(found))
    (tmp_path / "evil.py").write_text("raise SystemExit('it ran')")
    assert "names 'evil.Features', and code from elsewhere isn't run" in told("tfds:pets", folder=folder)


def test_a_prepared_data_set_that_was_cut_short_is_told(prepared, tmp_path):
    folder = tmp_path / "cut"
    shutil.copytree(prepared / "pets", folder / "pets")
    (records,) = folder.rglob("*-train.tfrecord*")
    os.truncate(records, 2000)
    message = told("tfds:pets", folder=folder)
    assert message.startswith("tfds:pets can't be read completely (")
    assert message.endswith(f"remove {folder / 'pets' / '1.2.3'}")


# --- Hugging Face ----------------------------------------------------------------------------------------------------


@pytest.fixture
def parquet(tmp_path) -> Path:
    """A folder with a parquet for each split, as the Hub has them."""
    datasets = pytest.importorskip("datasets")
    folder = tmp_path / "pets"
    write_parquet(datasets, folder, {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))})
    return folder


def write_parquet(datasets, folder: Path, kinds: dict) -> None:
    for split in COUNTS:
        rows = [
            {"image": {"bytes": image, "path": None}, "label": label, "coarse": 0, "text": CLASSES[label]}
            for image, label in examples(split)
        ]
        rows = [{name: row[name] for name in kinds} for row in rows]
        table = datasets.Dataset.from_list(rows, features=datasets.Features(kinds))
        (folder / "data").mkdir(parents=True, exist_ok=True)
        table.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")


def test_a_folder_of_hugging_face_keeps_its_splits_its_classes_and_its_images(parquet, tmp_path, monkeypatch):
    data = load("hf:./pets", size=(16, 16), resizing="crop")
    check(data)
    assert (data.name, data.origin) == ("hf-pets", "hf:./pets")
    assert absolute("hf:./pets") == f"hf:{parquet}"
    assert load(f"hf:{parquet}", size=(16, 16), resizing="crop").digest == data.digest
    assert counted(data_check("hf:./pets")) == dict.fromkeys(CLASSES, HALVES)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "datasets", None)  # it isn't asked again
        assert load("hf:./pets", size=(16, 16), resizing="crop").digest == data.digest
    (parquet / "data" / "validation-00000-of-00001.parquet").unlink()
    anew = load("hf:./pets")
    assert [len(split) for split in (anew.train, anew.validation, anew.test)] == [10, 2, 6]


def test_which_columns_are_image_and_class_is_told_by_their_types_or_asked(tmp_path):
    datasets = pytest.importorskip("datasets")
    label = datasets.ClassLabel(names=list(CLASSES))
    coarse = datasets.ClassLabel(names=["animal"])
    write_parquet(datasets, tmp_path / "two", {"image": datasets.Image(), "label": label, "coarse": coarse})
    assert "columns coarse (ClassLabel), image (Image), label (ClassLabel), expected one" in told("hf:./two")
    assert load("hf:./two", label="label").labels == CLASSES
    write_parquet(datasets, tmp_path / "none", {"text": datasets.Value("string"), "label": label})
    assert "columns label (ClassLabel), text (Value), expected one Image and one ClassLabel" in told("hf:./none")
    write_parquet(datasets, tmp_path / "words", {"image": datasets.Image(), "text": datasets.Value("string")})
    assert "expected one Image and one ClassLabel" in told("hf:./words")
    assert make_plan("conv-tiny", "hf:./words", label="text").recipe == definition("conv-tiny").recipe, "it is no table"
    assert load("hf:./words", label="text").labels == CLASSES


def test_images_in_folders_of_classes_are_read_and_none_from_elsewhere(tmp_path):
    pytest.importorskip("datasets")
    for split in COUNTS:
        for k, (image, label) in enumerate(examples(split)):
            path = tmp_path / "folders" / split / CLASSES[label] / f"{k:03}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image)
    assert load("hf:./folders").labels == CLASSES
    (tmp_path / "secret.jpg").write_bytes(jpeg(0))
    write_paths(tmp_path / "hostile", tmp_path / "secret.jpg")
    assert f"has an image that is stored elsewhere ({tmp_path / 'secret.jpg'})" in told("hf:./hostile")


def write_paths(folder: Path, image: Path) -> None:
    """A parquet in the form of the Hub whose images are the path of one."""
    import pyarrow
    from pyarrow import parquet

    features = {"image": {"_type": "Image"}, "label": {"names": list(CLASSES), "_type": "ClassLabel"}}
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    schema = pyarrow.schema(
        [("image", kind), ("label", pyarrow.int64())],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    rows = [{"image": {"bytes": None, "path": str(image)}, "label": k % 2} for k in range(4)]
    folder.mkdir()
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), folder / "train.parquet")


def test_a_damaged_parquet_is_told(parquet, tmp_path):
    file = parquet / "data" / "test-00000-of-00001.parquet"
    content = bytearray(file.read_bytes())
    content[4:60] = bytes(56)  # the header of its first page
    file.write_bytes(content)
    assert f"{parquet} can't be read completely (" in told("hf:./pets")
    os.truncate(file, 100)
    assert f"{parquet} can't be read" in told("hf:./pets")


def test_a_script_in_a_folder_is_never_run(tmp_path):
    pytest.importorskip("datasets")
    folder = tmp_path / "scripted"
    folder.mkdir()
    (folder / "scripted.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    message = told("hf:./scripted")
    assert "can't be read as a data set of Hugging Face" in message or "neither in the cache" in message
    assert not (tmp_path / "ran").exists()


def test_offline_the_hub_is_named_with_what_to_do(tmp_path):
    """In a process of its own, which is told that there is no network: else its retries take half a minute."""
    pytest.importorskip("datasets")
    program = "from zoo.data import load; load('hf:somebody/pets')"
    done = run(program, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "hub"))
    assert "hf:somebody/pets is neither in the cache nor found at the Hugging Face Hub (" in done.stderr
    assert "give its folder as hf:./FOLDER" in done.stderr


def test_names_that_mean_nothing_or_two_things_are_told(tmp_path):
    assert f"there is no folder at {tmp_path / 'nothing'}" in told("hf:./nothing")
    assert "isn't a name on the Hub" in told("hf:a/b/c/d")
    (tmp_path / "somebody" / "pets").mkdir(parents=True)
    assert "is a folder here, too: give it as hf:./somebody/pets" in told("hf:somebody/pets")
    assert "takes no data folder" in told("hf:somebody/other", folder=tmp_path)
    assert "--groups requires your own folder or table" in told("hf:somebody/other", groups="folder")


# --- what is kept ----------------------------------------------------------------------------------------------------


def several(*labels: str | None):
    return lambda: [(jpeg(k), label) for k, label in enumerate(labels)]


def kept(splits, key: int = 0):
    return list_kept("pets", (key,), lambda: Catalogued(splits), lambda done, in_all: None)


def test_splits_go_by_what_they_are_called(tmp_path):
    listing = kept({"train": several("a", "b"), "valid": several("a"), "extra": several("b"), "test": several(None)})
    assert listing.given == ("train", "validation")
    assert listing.understood == (
        "left out the split 'extra', which is none of train, validation and test",
        "left out 1 images of test, which have no label",
    )
    assert kept({"all": several("a", "b")}, 1).given == ("train",)
    with pytest.raises(DataError, match="two splits for validation images, dev and val"):
        kept({"train": several("a"), "dev": several("a"), "val": several("a")}, 2)
    with pytest.raises(DataError, match="has no image with a label"):
        kept({"train": several(None)}, 3)


def test_what_breaks_off_leaves_nothing_and_a_damaged_store_is_told(tmp_path):
    def breaks():
        yield jpeg(0), "a"
        raise DataError("it broke off")

    with pytest.raises(DataError, match="it broke off"):
        kept({"train": breaks})
    store = tmp_path / "cache" / "classifier-zoo" / "catalogs"
    assert list(store.iterdir()) == []
    kept({"train": several("a", "b")})
    (folder,) = store.iterdir()
    os.truncate(folder / "train.tar", 3000)
    with pytest.raises(DataError, match="can't be read as a shard"):
        kept({})
    (folder / "notes.json").write_text("{")
    with pytest.raises(DataError, match="is damaged: remove it, and it will be created again"):
        kept({})


def test_a_package_that_is_not_installed_names_its_extra(monkeypatch, tmp_path):
    for package, data in (("tensorflow_datasets", "tfds:pets"), ("datasets", "hf:somebody/pets")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingExtraError, match=r"pip install '.*\[(tfds|hf)\]'"):
            load(data)


@pytest.mark.parametrize(
    ("module", "names"),
    [("hugging_face.list_hf", ("org/data-small", "org/data/small")), ("tensorflow_datasets.list_tfds", ("a/1", "a:1"))],
)
def test_names_that_are_filed_alike_are_kept_apart(module, names, monkeypatch):
    name, _, reader = module.partition(".")
    module = import_module(f"zoo.data.catalogs.{name}")
    monkeypatch.setattr(module, "list_kept", lambda name, key, *_: (name, key))
    found = [getattr(module, reader)(name, None, None, lambda *_: None) for name in names]
    (one, of_one), (other, of_other) = found
    assert one == other
    assert of_one != of_other


def test_a_cache_that_takes_no_finished_folder_is_named(monkeypatch):
    def refuse(self, target):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(Path, "rename", refuse)
    found = Catalogued({"train": lambda: [(jpeg(k), CLASSES[k % 2]) for k in range(8)]})
    with pytest.raises(DataError, match=r"can't be written \(Disk quota exceeded\): set XDG_CACHE_HOME"):
        list_kept("pets", ("key",), lambda: found, lambda done, count: None)


def test_what_a_killed_process_left_is_removed_after_a_day(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "classifier-zoo/catalogs"
    for name, days in ((".new-old", 2), (".new-young", 0), ("pets-0123", 2)):
        (folder / name).mkdir(parents=True)
        (folder / name / "train.tar").write_bytes(b"part")
        for path in (folder / name / "train.tar", folder / name):
            os.utime(path, (time.time() - days * 86400,) * 2)
    image = jpeg(1)
    list_kept("birds", ("key",), lambda: Catalogued({"train": lambda: [(image, "a"), (image, "b")]}), lambda *_: None)
    assert {path.name.partition("-")[2] for path in folder.glob(".new-*")} == {"young"}
    assert (folder / "pets-0123").is_dir()
