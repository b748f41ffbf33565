"""Known data sets: each read from small real files of its own format, found, downloaded, and checked.

What their authors publish can't be had in a test: of the pinned files the form is checked.
"""

from __future__ import annotations

import gzip
import io
import re
import tarfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from published import CIFAR10_NAMES, SAVED, idx, in_turn, noise, published_in, serving, tar

import pipelines
from pipelines.cli import main
from pipelines.cli.markdown import data_set_rows
from zoo.data import data_sets, load
from zoo.data.known import cifar, emnist, kmnist, mnist, svhn
from zoo.data.registry import terms_of
from zoo.data.sources.download import Source, find_files
from zoo.data.sources.idx import read_idx
from zoo.data.sources.tar import read_members
from zoo.errors import DataError

# name -> where its source is written, and what there is: train, validation, test, height, width, channels
SOURCES = {
    "mnist": (mnist, "SOURCE"),
    "kmnist": (kmnist, "SOURCE"),
    "emnist": (emnist, "SOURCE"),
    "cifar10": (cifar, "CIFAR10"),
    "cifar100": (cifar, "CIFAR100"),
    "svhn": (svhn, "SOURCE"),
}
SIZES = {
    "mnist": (30, 10, 20, 28, 28, 1),
    "kmnist": (30, 10, 20, 28, 28, 1),
    "emnist": (47, 47, 47, 28, 28, 1),
    "cifar10": (40, 10, 10, 32, 32, 3),
    "cifar100": (100, 100, 100, 32, 32, 3),
    "svhn": (30, 10, 20, 32, 32, 3),
}
LABELS = {
    "mnist": "0123456789",
    "kmnist": ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    "emnist": "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt",
    "cifar10": CIFAR10_NAMES,
    "cifar100": tuple(f"thing_{k}" for k in range(100)),
    "svhn": "0123456789",
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A world without these data."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("ZOO_DATA", raising=False)


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """Writes a small data set of a name into a folder, and takes that for the authors'; gives its first test image."""

    def save(name: str, address: str = "", to: str = "files"):
        folder = tmp_path / to
        folder.mkdir(parents=True, exist_ok=True)
        image = SAVED[name](folder)
        publish(name, address, to)
        return folder, image

    def publish(name: str, address: str = "", to: str = "files"):
        module, attribute = SOURCES[name]
        monkeypatch.setattr(module, attribute, published_in(tmp_path / to, getattr(module, attribute), address))

    save.again = publish
    return save


def told(name: str, **options) -> str:
    with pytest.raises(DataError) as error:
        load(name, **options)
    message = str(error.value)
    assert "\n" not in message
    return message


# --- the pinned table ------------------------------------------------------------------------------------------------


def sources() -> dict[str, Source]:
    return {name: files for name in data_sets() if (files := terms_of(name).files)}


@pytest.mark.parametrize(
    ("name", "file"), [(name, file) for name, source in sources().items() for file in source.files]
)
def test_each_file_is_pinned(name, file):
    source = sources()[name]
    published = source.files[file]
    assert source.name == name
    assert published.url.endswith("/" + file)
    assert published.url.startswith("https://") or name == "fashion-mnist", "whose authors' site knows no HTTPS"
    size, sha256 = published.content or (published.size, published.sha256)
    assert re.fullmatch("[0-9a-f]{64}", sha256)
    assert published.size > 500
    assert size > 500


def test_each_has_a_license_and_a_homepage_and_what_is_downloaded_a_paper():
    assert {"fashion-mnist", "digits", "oxford-pets", "flowers", *SOURCES} <= set(data_sets())
    for name in data_sets():
        terms = terms_of(name)
        assert terms.license
        assert terms.source.startswith("https://")
        if name in sources():
            assert re.search(r"[A-Z]\w+ .*(19|20)\d\d", terms.reference), name


# --- the formats -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOURCES)
def test_it_is_read_as_its_authors_publish_it(saved, name):
    folder, first = saved(name)
    data = load(name, folder=folder)
    *sizes, height, width, channels = SIZES[name]
    assert [len(split) for split in (data.train, data.validation, data.test)] == sizes
    assert (data.height, data.width, data.channels) == (height, width, channels)
    assert data.labels == tuple(LABELS[name])
    assert data.name == name
    assert data.origin == str(folder)
    np.testing.assert_array_equal(data.test.inputs[0], first)
    np.testing.assert_array_equal(data.test.labels, in_turn(len(data.test), data.classes))
    for split in (data.train, data.validation):
        np.testing.assert_array_equal(split.labels, [int(place) % data.classes for place in split.names])
    assert load(name, folder=folder).digest == data.digest
    assert load(name, folder=folder, size=(9, 8)).test.inputs.shape[1:3] == (9, 8)


@pytest.mark.parametrize("name", SOURCES)
def test_files_that_are_not_the_authors_are_named(saved, name):
    folder, _ = saved(name)
    file = sorted(folder.iterdir())[0]
    file.write_bytes(file.read_bytes()[:-9] + b"otherwise")
    assert f"{file} is not the file of" in told(name, folder=folder)
    file.write_bytes(file.read_bytes()[:200])
    assert "bytes, received 200): replace or remove it" in told(name, folder=folder)


@pytest.mark.parametrize("name", SOURCES)
def test_what_is_published_and_yet_not_the_format_is_named(saved, name):
    folder, _ = saved(name)
    for file in folder.iterdir():
        file.write_bytes(gzip.compress(b"<html>a login page</html>"))
    saved.again(name)
    assert "doesn't contain" in told(name, folder=folder)
    for file in folder.iterdir():
        file.write_bytes(b"<html>a login page</html>")
    saved.again(name)
    told(name, folder=folder)


def test_idx_files_that_contradict_themselves_are_told():
    whole = idx(noise(0, 4, 3, 3))
    assert read_idx(whole, 3).shape == (4, 3, 3)
    for damaged in (whole[:-1], whole + b"0", whole[:10], b"", whole[:2] + b"\x09" + whole[3:], idx(noise(0, 4))):
        with pytest.raises(ValueError, match=r"not an IDX file|its header says"):
            read_idx(damaged, 3)


@pytest.mark.parametrize("labels", [in_turn(39, 10), in_turn(40, 11), in_turn(0, 10)])
def test_labels_that_do_not_fit_the_images_are_told(saved, labels):
    folder, _ = saved("mnist")
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    saved.again("mnist")
    assert "doesn't contain MNIST" in told("mnist", folder=folder)


def test_emnist_that_claims_to_unpack_to_gigabytes_is_refused(saved, monkeypatch):
    folder, _ = saved("emnist")
    monkeypatch.setattr(emnist, "LARGEST_UNPACKED", 10_000)
    assert re.search(r"train-images-idx3-ubyte.gz unpacks to 7\d,\d+ bytes", told("emnist", folder=folder))


@pytest.mark.parametrize("change", ["no y", "more labels", "label 11", "floats", "too large"])
def test_svhn_with_other_arrays_is_told(saved, monkeypatch, change):
    from scipy.io import loadmat, savemat

    folder, _ = saved("svhn")
    file = folder / "test_32x32.mat"
    arrays = {name: loadmat(file)[name] for name in ("X", "y")}
    if change == "no y":
        del arrays["y"]
    elif change == "more labels":
        arrays["y"] = np.ones((99, 1), np.uint8)
    elif change == "label 11":
        arrays["y"][0] = 11
    elif change == "floats":
        arrays["X"] = arrays["X"].astype(np.float64)
    else:
        monkeypatch.setattr(svhn, "LARGEST", 1000)
    savemat(file, arrays)
    saved.again("svhn")
    assert "doesn't contain SVHN (" in told("svhn", folder=folder)


# --- archives --------------------------------------------------------------------------------------------------------


def with_links() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            link = tarfile.TarInfo("a/wanted")
            link.type, link.linkname = kind, "/etc/passwd"
            archive.addfile(link)
    return packed.getvalue()


ARCHIVES = {
    "leads out of its folder": (tar({"../../wanted": b"here"}, "w:gz"), b"here"),
    "uncompressed": (tar({"a/wanted": b"here"}), b"here"),
    "links alone": (with_links(), "it lacks wanted"),
    "a large member": (tar({"wanted": bytes(2000)}, "w:gz"), "2,000 bytes, expected at most 1,000"),
    "a bomb before it": (tar({"other": bytes(10**7), "wanted": b"here"}, "w:gz"), "more than 1,000,000 bytes"),
    "cut in the member": (tar({"wanted": bytes(800)})[:700], "not a complete tar archive"),
    "cut in gzip": (tar({"wanted": noise(0, 900).tobytes()}, "w:gz")[:300], "not a complete tar archive"),
    "empty": (b"", "not a complete tar archive"),
    "no archive": (b"milk, bread" * 100, "not a complete tar archive"),
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_an_archive_from_anywhere_is_read_within_bounds_and_writes_nothing(tmp_path, case):
    content, expected = ARCHIVES[case]
    path = tmp_path / "in" / "archive"
    path.parent.mkdir()
    path.write_bytes(content)
    read = partial(read_members, path, {"wanted"}, largest=1000, most=10**6)
    if isinstance(expected, bytes):
        assert read() == {"wanted": expected}
    else:
        with pytest.raises(ValueError, match=expected):
            read()
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [path]


# --- where they lie --------------------------------------------------------------------------------------------------


def test_it_is_downloaded_once_and_a_broken_off_download_goes_on(saved, tmp_path):
    folder, first = saved("mnist")
    with serving(folder) as (address, asked):
        saved.again("mnist", address)
        late = folder / "t10k-images-idx3-ubyte.gz"
        content = late.read_bytes()
        late.unlink()
        assert "404" in told("mnist")
        late.write_bytes(content)
        data = load("mnist")
        np.testing.assert_array_equal(data.test.inputs[0], first)
        load("mnist")
    assert all(asked.count(f"/{file}") == 1 for file in mnist.SOURCE.files if file != late.name)
    assert data.origin == str(tmp_path / "cache" / "classifier-zoo" / "mnist")


@pytest.mark.parametrize("served", ["shorter", "longer", "other"])
def test_a_server_with_another_file_leaves_nothing_behind(saved, tmp_path, served):
    folder, _ = saved("cifar10")
    (file,) = folder.iterdir()
    with serving(folder) as (address, _):
        saved.again("cifar10", address)
        content = file.read_bytes()
        others = {"shorter": content[:-1], "longer": content + b"0", "other": content[:-1] + b"!"}
        file.write_bytes(others[served])
        message = told("cifar10")
    assert f"{address}{file.name} is not the file of CIFAR-10 (expected" in message
    assert not list((tmp_path / "cache").rglob("*.gz*"))


def test_offline_one_sentence_says_where_it_looked(saved, tmp_path, monkeypatch):
    saved("svhn")
    monkeypatch.setenv("ZOO_DATA", str(tmp_path / "named"))
    message = told("svhn")
    assert f"SVHN is not in {tmp_path / 'named' / 'svhn'}, {tmp_path / 'cache' / 'classifier-zoo' / 'svhn'}" in message
    assert "refused): put its 2 files (train_32x32.mat, test_32x32.mat) in a folder" in message
    assert not (tmp_path / "cache" / "classifier-zoo" / "svhn").exists()


def test_files_of_one_name_are_not_taken_for_those_of_another_data_set(saved, tmp_path, monkeypatch):
    """MNIST, Kuzushiji-MNIST and Fashion-MNIST call their files alike, and Fashion-MNIST's may lie in $ZOO_DATA."""
    saved("kmnist", to="data")
    _, first = saved("mnist", to="data/mnist")
    monkeypatch.setenv("ZOO_DATA", str(tmp_path / "data"))
    np.testing.assert_array_equal(load("mnist").test.inputs[0], first)
    assert "Kuzushiji-MNIST is not in" in told("kmnist")


def test_a_folder_that_is_named_is_the_only_place(saved, tmp_path):
    folder, _ = saved("mnist", to="data/mnist")
    assert load("mnist", folder=folder.parent).origin == str(folder)
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    assert "but not t10k-labels-idx1-ubyte.gz: add what is missing" in told("mnist", folder=folder)
    assert "doesn't contain MNIST, expected train-images" in told("mnist", folder=tmp_path / "nowhere")


def test_a_place_that_cannot_be_written_is_told(saved, tmp_path, monkeypatch):
    folder, _ = saved("mnist")
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with serving(folder) as (address, _):
        saved.again("mnist", address)
        assert "can't be written" in told("mnist")
    assert find_files(replace(mnist.SOURCE, elsewhere=(folder,)), None, print) == folder


# --- zoo data list ---------------------------------------------------------------------------------------------------


def test_the_list_says_which_are_here_and_the_page_has_the_same_rows(saved, tmp_path, capsys):
    folder, _ = saved("mnist", to="cache/classifier-zoo/mnist")
    found = {each.name: each for each in pipelines.data_list()}
    assert list(found) == list(data_sets())
    assert (found["mnist"].place, found["kmnist"].place) == (str(folder), "")
    assert (found["digits"].download, found["digits"].place) == (0, "")
    assert found["oxford-pets"].download == 811_092_049
    page = (Path(__file__).parent.parent / "docs" / "data.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `") and "](" in line]
    assert len(rows) >= 10
    assert set(rows) <= set(data_set_rows()), "a new one may be missing: the site and `zoo data list` have it"
    assert main(["data", "list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in found)
