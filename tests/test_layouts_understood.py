"""What folders are taken for: each layout is understood, or asked about. None is guessed in silence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from folders import make

from pipelines.cli import main
from zoo.data import load
from zoo.data.folders.findings import USABLE
from zoo.data.folders.layouts import list_images
from zoo.data.listing import OF_SYSTEM, SPLITS
from zoo.data.names import alike, split_of
from zoo.errors import DataError

PETS = ("cat", "dog")
RENAME = (
    "if they are splits, call them train, validation and test; if they are classes, say so with --groups none, "
    "or folder"
)
FLAT = "called like a split, without a folder for each class in it: if it is a split, .*; if they are classes, say so"


def within(*tops: str) -> list[str]:
    return [f"{top}/{pet}" for top in tops for pet in PETS]


# name -> (folders, classes, splits that the folder gives, what is said of it)
UNDERSTOOD: dict[str, tuple[list[str], Sequence[str], Sequence[str], str]] = {
    "classes": ([*PETS], PETS, ["train"], ""),
    "splits": (within("train", "val", "test"), PETS, SPLITS, "the folder val as validation"),
    "splits as they are called here": (within("train", "validation", "test"), PETS, SPLITS, ""),
    "training and testing": (
        within("training", "testing"),
        PETS,
        ["train", "test"],
        "the folder testing as test, training as train",
    ),
    "any case": (within("TRAIN", "Valid", "Test"), PETS, SPLITS, "TRAIN as train"),
    "sets": (within("training_set", "test_set"), PETS, ["train", "test"], "training_set as train"),
    "more of them": (within("Train Images", "dev-set", "testdata"), PETS, SPLITS, "dev-set as validation"),
    "train alone": (within("train"), PETS, ["train"], ""),
    "a class called like a split, in splits": (
        ["train/train", "train/bus", "test/train", "test/bus"],
        ("bus", "train"),
        ["train", "test"],
        "",
    ),
    "one wrapper": (within("PetImages"), PETS, ["train"], "looked through .*PetImages"),
    "one wrapper of splits": (within("data/train", "data/test"), PETS, ["train", "test"], "looked through .*data"),
    "a wrapper in each split": (within("train/train", "test/test"), PETS, ["train", "test"], "looked through"),
    "a wrapper beside what macOS leaves": (
        [*within("PetImages"), "__MACOSX/PetImages/._1.png"],
        PETS,
        ["train"],
        "looked through",
    ),
    "one class with one folder": (["cat/images", "dog/images"], PETS, ["train"], ""),
    "classes with folders of their own": (["cat/a", "cat/b", "dog/c", "dog/d"], PETS, ["train"], ""),
    "folders of systems": (
        [*PETS, "__MACOSX/x", "@eaDir/y", "$RECYCLE.BIN", "System Volume Information", "lost+found", "#recycle"],
        PETS,
        ["train"],
        "",
    ),
    "thumbnails": ([*PETS, "cat/@eaDir/0.png", "dog/.thumbnails", "cat/__MACOSX"], PETS, ["train"], ""),
    "hidden images above the classes": (["pets/cat", "pets/dog", ".cover.png"], PETS, ["train"], "looked through"),
    "stations and tubes": (["test_tube", "beaker"], ("beaker", "test_tube"), ["train"], ""),
}

# name -> (folders, what is asked)
ASKED: dict[str, tuple[list[str], str]] = {
    "splits of no name": (within("phase1", "phase2"), rf"holds phase1, phase2, .* \(cat, dog\): {RENAME}"),
    "splits of no name with more classes in one": ([*within("a", "b"), "b/bird"], RENAME),
    "splits in longer names": (["seg_train/a/x", "seg_test/a/x"], f"holds seg_test, seg_train, .* classes: {RENAME}"),
    "splits with a year": (["train2017/a", "val2017/a"], RENAME),
    "splits below classes": (
        ["cat/train", "cat/test", "dog/train", "dog/test"],
        r"\(test, train\): if they are splits",
    ),
    "splits below some classes": (
        ["cat/train", "cat/test", "dog"],
        r"cat holds test, train, called like splits, below a class: .* put them above the classes \(train/CLASS\)",
    ),
    "flat splits": (["train", "test"], f"holds test, train, {FLAT}"),
    "flat splits beside a table": (
        ["train", "test", "sample.csv", "train.csv"],
        r"or give \S*train\.csv with --data \(and --images",
    ),
    "a class called like a split": (["train", "bus", "car"], f"holds train, {FLAT}"),
    "a split beside something else": ([*within("train"), "unlabeled"], "next to them 'unlabeled', which isn't a split"),
    "a split without classes": (
        [*within("train"), "test"],
        "next to them 'test', which isn't a split or has no folder",
    ),
    "one split twice": (within("train", "val", "validation"), "two folders for validation images, val and validation"),
    "splits of no name beside a hidden image": ([*within("a", "b"), "a/.cover.png"], RENAME),
    "images and labels": (["images/train", "images/val", "labels/train", "labels/val"], RENAME),
}


@pytest.mark.parametrize("layout", UNDERSTOOD)
def test_a_layout_is_understood_and_what_was_a_choice_is_said(tmp_path, layout):
    folders, labels, given, said = UNDERSTOOD[layout]
    listing = list_images(make(tmp_path / "pets", folders))
    assert (listing.labels, listing.given) == (tuple(labels), tuple(given))
    assert bool(listing.understood) == bool(said)
    assert re.search(said, "; ".join(listing.understood))
    assert {problem.kind for problem in listing.left_out} <= {OF_SYSTEM, "not called an image"}
    assert not [file for file in listing.files if "@eaDir" in file or "MACOSX" in file]


@pytest.mark.parametrize("layout", ASKED)
def test_a_layout_that_can_be_two_things_is_asked_about(tmp_path, layout):
    folders, question = ASKED[layout]
    with pytest.raises(DataError, match=question) as error:
        list_images(make(tmp_path / "pets", folders))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "layout", [name for name, (_, asked) in ASKED.items() if "--groups none" in asked or FLAT in asked]
)
def test_who_says_that_they_are_classes_gets_them(tmp_path, layout):
    folders, _ = ASKED[layout]
    make(tmp_path / "pets", folders)
    tops = {folder.partition("/")[0] for folder in folders if not Path(folder).suffix}
    for groups in ("none", "folder"):
        listing = list_images(tmp_path / "pets", groups)
        assert set(listing.labels) == tops
        assert (max(listing.groups) >= 0) == (groups == "folder" and any("/" in folder for folder in folders))


def test_a_check_says_what_was_understood_and_a_training_that_is_asked_about_begins_none(tmp_path, capsys):
    make(tmp_path / "fine", within("training", "testing"))
    assert main(["data", "check", str(tmp_path / "fine")]) == 0
    assert "took the folder testing as test, training as train" in capsys.readouterr().out
    assert main(["data", "check", str(tmp_path / "fine"), "--html", str(tmp_path / "page.html")]) == 0
    assert "took the folder testing as test" in (tmp_path / "page.html").read_text(encoding="utf-8")
    make(tmp_path / "unclear", within("phase1", "phase2"))
    assert main(["train", "softmax", "--data", str(tmp_path / "unclear")]) == 1
    assert "say so with --groups none, or folder" in capsys.readouterr().err


def test_images_beside_a_table_that_says_what_they_show_are_told_of_it(tmp_path):
    make(tmp_path, ["."])
    (tmp_path / "labels.csv").write_text("file,label\n0.png,cat\n")
    with pytest.raises(DataError, match=r"holds no images.*; labels\.csv beside them may say what they show"):
        load(str(tmp_path))


def test_a_column_group_is_left_alone_where_nothing_is_to_stay_together(tmp_path):
    make(tmp_path, ["all"])
    (tmp_path / "t.csv").write_text("path,label,group\n" + "".join(f"all/{k}.png,{k % 2},g\n" for k in range(4)))
    assert max(list_images(tmp_path / "t.csv").groups) == 0
    assert max(list_images(tmp_path / "t.csv", "none").groups) == -1


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("pets.zip", "it is a file, an archive: unpack it"),
        ("pets.tar.gz", "an archive: unpack it"),
        ("pets.dvc", "`dvc pull`"),
        ("pets.parquet", "save it as CSV"),
        ("pets.xlsx", "save it as CSV"),
        ("pets.json", "save it as JSON lines"),
        ("pets.npy", "np.savez"),
        ("cat.jpg", "an image: give the folder"),
        ("notes.md", "it is a file$"),
    ],
)
def test_a_file_in_the_place_of_a_folder_is_named_with_what_to_do(tmp_path, name, told):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=told):
        load(str(tmp_path / name))


def test_an_address_and_a_broken_link_in_the_place_of_a_folder_are_named(tmp_path):
    with pytest.raises(DataError, match="it is an address: download it, and give the folder"):
        load("https://example.org/pets/")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match="it is a link to where nothing is"):
        load(f"{tmp_path}/gone")


def test_what_systems_leave_behind_is_nothing_to_look_at(tmp_path):
    make(tmp_path / "pets", [*PETS, "__MACOSX/cat", "cat/@eaDir/0.png"], 6)
    assert load(str(tmp_path / "pets")).report.verdict == USABLE


# --- names that are one --------------------------------------------------------------------------------------------


def test_classes_that_differ_in_how_they_are_written_alone_are_a_finding(tmp_path):
    make(tmp_path / "pets", ["Dog", "dog", "cat"], 6)
    sentences = [finding.sentence for finding in load(str(tmp_path / "pets")).report.findings]
    assert any("classes 'Dog' and 'dog' differ in how they are written alone" in sentence for sentence in sentences)
    with pytest.raises(DataError, match=r"class 'Dog' in test of .* \(is it 'dog', spelled differently\?\)"):
        load(str(make(tmp_path / "apart", ["train/Dog", "train/cat", "test/dog", "test/cat"])))


def test_classes_of_a_table_that_differ_in_how_they_are_written_alone_are_a_finding(tmp_path, capsys):
    rows = [f"{k},{k % 3},{('Yes', 'yes', 'no')[k % 3]}" for k in range(30)]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,answer", *rows]))
    assert main(["data", "check", str(tmp_path / "t.csv"), "--label", "answer"]) == 0
    assert "classes 'Yes' and 'yes' differ" in capsys.readouterr().out


@pytest.mark.parametrize(
    "names", [("Dog", "dog"), ("sea lion", "sea_lion", "Sea-Lion"), ("caf\u00e9", "cafe\u0301"), ("a  b", "a b ")]
)
def test_names_that_are_one(names):
    assert alike(["other", *names]) == [names]


@pytest.mark.parametrize(("names", "one"), [(("-1", "1"), False), (("1", "1.0", "01"), True), (("0", "00"), True)])
def test_numbers_are_one_by_their_value(names, one):
    assert alike(names) == ([names] if one else [])


@pytest.mark.parametrize("name", ["trains", "station", "contest", "eval", "testament", "valley", "0", "", "set"])
def test_names_that_are_no_split(name):
    assert split_of(name) is None


# --- links ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def linked(tmp_path) -> Path:
    """A folder whose images are links into a cache, as DVC and git-annex make them, and one class a link itself."""
    cache = make(tmp_path / "cache", [*PETS, "bird"])
    root = tmp_path / "pets"
    for pet in PETS:
        (root / pet).mkdir(parents=True)
        for image in (cache / pet).iterdir():
            (root / pet / image.name).symlink_to(image)
    (root / "bird").symlink_to(cache / "bird")
    return root


def test_links_out_of_a_folder_are_followed_on_request_and_named_otherwise(linked, capsys):
    with pytest.raises(DataError, match=r"holds no images .*is a link.* --follow-links allows it"):
        load(str(linked))
    assert main(["data", "check", str(linked)]) == 1
    assert "--follow-links" in capsys.readouterr().err
    assert main(["data", "check", str(linked), "--follow-links"]) == 0
    data = load(str(linked), follow_links=True)
    assert data.labels == ("bird", *PETS)
    assert sum(len(getattr(data, split)) for split in SPLITS) == 12


def test_links_that_lead_in_a_circle_end(linked):
    (linked / "cat" / "up").symlink_to(linked)
    (linked / "cat" / "across").symlink_to(linked / "dog")
    (linked / "dog" / "back").symlink_to(linked / "cat")
    listing = list_images(linked, follow_links=True)
    assert "leads round in a circle" in " ".join(problem.sentence for problem in listing.left_out)
    assert len(listing) == 12 + 8  # each class has the other's images once more


def test_a_link_whose_image_was_not_fetched_says_so(linked, tmp_path):
    (linked / "bird").unlink()
    for image in (tmp_path / "cache").rglob("*.png"):
        image.unlink()
    with pytest.raises(DataError, match="is a link to where nothing is: fetch it"):
        load(str(linked), follow_links=True)
