"""What folders and tables are taken for: each layout is understood, or asked about. None is guessed in silence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.cli import main
from pipelines.core.provenance.plan import load_data, make_plan, parse_plan
from pipelines.core.provenance.reading import Located, find_test_set
from zoo.contract import Metadata
from zoo.data import load
from zoo.data.folders.findings import USABLE
from zoo.data.folders.layouts import list_images
from zoo.data.listing import OF_SYSTEM, SPLITS
from zoo.data.names import alike, split_of
from zoo.data.registry import holds_values
from zoo.errors import DataError

PETS = ("cat", "dog")
RENAME = (
    "if they are splits, call them train, validation and test; if they are classes, say so by --groups none, or folder"
)
FLAT = "called like a split, without a folder for each class in it: if it is a split, .*; if they are classes, say so"


def make(root: Path, folders: Sequence[str], images: int = 4) -> Path:
    """Images in folders; a name that ends in a file's is that file."""
    for seed, folder in enumerate(folders):
        if Path(folder).suffix:
            (root / folder).parent.mkdir(parents=True, exist_ok=True)
            (root / folder).write_bytes(b"x")
            continue
        (root / folder).mkdir(parents=True, exist_ok=True)
        for k in range(images):
            pixels = np.random.RandomState(100 * seed + k).randint(0, 256, (4, 4)).astype(np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{k}.png")
    return root


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
        r"or give \S*train\.csv by --data \(and --images",
    ),
    "a class called like a split": (["train", "bus", "car"], f"holds train, {FLAT}"),
    "a split beside something else": ([*within("train"), "unlabeled"], "beside them 'unlabeled', which is none"),
    "a split without classes": ([*within("train"), "test"], "beside them 'test', which is none or has no folder"),
    "one split twice": (within("train", "val", "validation"), "two folders for validation images, val and validation"),
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
    assert "say so by --groups none, or folder" in capsys.readouterr().err


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
    with pytest.raises(DataError, match=r"class 'Dog' in test of .* \(is it 'dog', written otherwise\?\)"):
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


# --- tables of images ----------------------------------------------------------------------------------------------

SEPARATORS = {"commas": ",", "semicolons": ";", "tabs": "\t", "vertical bars": "|", "commas and spaces": ", "}
ENCODINGS = {"UTF-8": "utf-8", "UTF-8 with a mark": "utf-8-sig", "UTF-16": "utf-16", "Windows-1252": "cp1252"}
HEADERS = (
    *("path,label", "file_name,label", "Path , Label", "FILENAME,Class", "Image File,class name", "id,label"),
    *("image_id,category", "image,Target", "filepath,y", "file,breed", "photo,label"),
)
FILE_OF = {"with an ending": "all/{}.png", "without an ending": "all/{}", "of Windows": "all\\{}.png"}
NAMES = ("caf\u00e9", "b\u00e4r")


@pytest.fixture
def flat(tmp_path) -> Path:
    make(tmp_path / "shapes", ["all"], 16)
    return tmp_path / "shapes"


def rows(files: str = "all/{}.png") -> list[tuple[str, str]]:
    return [(files.format(k), NAMES[k % 2]) for k in range(16)]


def write(path: Path, header: str, cells: list[tuple[str, str]], separator: str = ",", encoding: str = "utf-8") -> Path:
    lines = [header.replace(",", separator), *(separator.join(row) for row in cells)]
    path.write_bytes(("\r\n".join(lines) + "\r\n").encode(encoding))
    return path


def check_read(path: Path, **options: Any) -> str:
    """Each image has its class; what was understood, in one text."""
    listing = list_images(path, **options)
    assert listing.labels == tuple(sorted(NAMES))
    for file, k in zip(listing.files, listing.classes, strict=True):
        assert listing.labels[k] == NAMES[int(Path(file).stem) % 2]
        assert (listing.root / file).is_file()
    assert len(listing) == 16
    return "; ".join(listing.understood)


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".txt"])
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("separator", SEPARATORS)
def test_a_table_of_images_may_be_written_in_any_way_and_it_is_said(flat, separator, encoding, ending):
    path = write(flat / f"t{ending}", "path,label", rows(), SEPARATORS[separator], ENCODINGS[encoding])
    said = check_read(path)
    assert (separator in said) == (not separator.startswith("commas"))
    assert (encoding in said) == (encoding in ("UTF-16", "Windows-1252"))
    assert not holds_values(str(path))


# What nobody calls so, and doesn't end as images do, are values.
CALLED = [(h, f) for h in HEADERS for f in FILE_OF if not (h.startswith("photo") and f == "without an ending")]


@pytest.mark.parametrize(("header", "files"), CALLED)
def test_its_columns_may_be_called_as_people_call_them(flat, header, files):
    path = write(flat / "t.csv", header, rows(FILE_OF[files]))
    assert not holds_values(str(path))
    said = check_read(path)
    assert ("as the path" in said) == (header.partition(",")[0] != "path")


def test_a_table_with_more_columns_asks_for_the_label_and_takes_it_in_any_case(flat):
    lines = ["", *(f"{k},{file},{name},{k % 5}" for k, (file, name) in enumerate(rows()))]
    path = flat / "t.csv"
    path.write_text("\n".join([",File,Breed,age", *lines[1:]]), encoding="utf-8")  # pandas' index has no name
    with pytest.raises(DataError, match=r"names images, in column 'File': name the column .* by --label, one of B"):
        load(str(path))
    check_read(path, label="breed")
    data = load(str(path), label="Breed")
    assert (data.kind, data.columns) == ("images", ())


def test_json_lines_may_call_them_so_too(flat):
    path = flat / "metadata.jsonl"
    path.write_text("".join(f'{{"file_name": "{file}", "label": "{name}"}}\n' for file, name in rows()))
    assert "'file_name' as the path" in check_read(path)


# What a row says of an image, where --images names the folder -> what it needs to be found.
ELSEWHERE = {
    "below it": "all/{}.png",
    "its folder left out": "{}.png",
    "absolute, of another machine": "/home/ada/shapes/all/{}.png",
    "absolute, of Windows": "C:\\Users\\ada\\shapes\\all\\{}.png",
    "with a folder in front": "shapes/all/{}.png",
    "absolute, without an ending": "/home/ada/all/{}",
    "a number": "{}",
}


@pytest.mark.parametrize("value", ELSEWHERE)
def test_images_that_lie_elsewhere_are_found_on_request(flat, tmp_path, value):
    (tmp_path / "tables").mkdir()
    path = write(tmp_path / "tables" / "t.csv", "id,label", rows(ELSEWHERE[value]))
    folder = flat / "all" if ELSEWHERE[value].startswith("{}") else flat
    check_read(path, images=folder)
    absolute = write(tmp_path / "tables" / "absolute.csv", "path,label", rows(f"{flat}/all/{{}}.png"))
    check_read(absolute, images=flat)
    with pytest.raises(DataError, match=r"outside of .*: move it there, or name its folder by --images"):
        load(str(absolute))


def test_a_second_root_is_no_way_out_of_it(flat, tmp_path):
    secret = make(tmp_path, ["secret"]) / "secret" / "0.png"
    (flat / "all" / "link.png").symlink_to(secret)
    cells = [*rows(), ("../secret/0.png", NAMES[0]), (str(secret), NAMES[0]), ("all/link.png", NAMES[0])]
    path = write(tmp_path / "t.csv", "path,label", cells)
    listing = list_images(path, images=flat)
    assert len(listing) == 16
    assert [problem.kind for problem in listing.left_out] == ["outside of the folder"] * 3
    listing = list_images(path, images=flat, follow_links=True)
    assert len(listing) == 17


@pytest.mark.parametrize(
    ("content", "options", "told"),
    [
        ("url,label\nhttps://example.org/1.png,a\nhttps://example.org/2.png,b\n", {}, "is an address: download it"),
        ("all/1.png,cat\nall/2.png,dog\n", {}, "names no columns in its first line: put one before it"),
        ("id,label\nx1,a\nx2,b\nx3,a\n", {"label": "label"}, "names each row in column 'id', such as 'x1'.*--images"),
        ("id,label\n1,a\n2,b\n3,a\n", {"label": "label"}, "names each row in column 'id', such as '1'.*--images"),
        ("file,age,label\nx1,2,a\nx2,2,b\n", {"label": "label"}, "names each row in column 'file'"),
        (
            "scan,age,label\n" + "".join(f"x{k},{k % 3},{k % 2}\n" for k in range(30)),
            {"label": "label"},
            "names each row in column 'scan'",
        ),
        ("path,label\n" + "no/1.png,a\nno/2.png,b\n" * 3, {}, "holds no images .*no/1.png.*--images FOLDER"),
        ("path,label\nx.png,a\n", {"images": Path("nowhere")}, "there is no folder at nowhere: --images takes"),
    ],
)
def test_a_table_that_names_no_image_here_says_what_to_do(flat, content, options, told):
    (flat / "t.csv").write_text(content)
    with pytest.raises(DataError, match=told) as error:
        load(str(flat / "t.csv"), **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("values", ["all/{}.png", "{}.JPG", "C:\\x\\{}.jpeg"])
def test_names_of_image_files_are_never_a_feature(flat, capsys, values):
    lines = [f"{values.format(k)},{k},{k % 7},{NAMES[k % 2]}" for k in range(16)]
    path = flat / "t.csv"
    path.write_text("\n".join(["photo,a,b,kind", *lines]), encoding="utf-8")
    assert not holds_values(str(path), "kind")
    if values.startswith("all"):
        assert load(str(path), label="kind").kind == "images"
    else:
        assert main(["train", "softmax", "--data", str(path), "--label", "kind"]) == 1
        assert "--images" in capsys.readouterr().err


def test_an_export_finds_its_test_images_where_they_are_said_to_lie(flat, tmp_path):
    path = write(tmp_path / "t.csv", "id,age,breed", [(file, "1,a") if k % 2 else (file, "1,b") for k, file in
                 enumerate(f"/home/ada/all/{k}.png" for k in range(16))])  # fmt: skip
    with pytest.raises(DataError, match="by --label, one of age, breed"):
        load(str(path), images=flat)
    plan = make_plan("conv-tiny", str(path), label="breed", images=flat, follow_links=True)
    assert parse_plan(plan.to_json(), "plan.json") == plan
    data = load_data(plan)
    about = {"model": "softmax", "family": "dense", "data_set": "t", "data_digest": data.digest, "weights_sha256": ""}
    made = {"recipe": {}, "run_id": "0" * 32, "commit": "", "test_accuracy": 0.5, "labels": data.labels}
    metadata = Metadata(**about, **made, height=data.height, width=data.width, channels=data.channels)
    found = find_test_set(metadata, Located(str(path), "breed", flat))
    assert list(found.names) == list(data.test.names)
    with pytest.raises(DataError, match="by --label, one of age, breed"):
        find_test_set(metadata, str(path))


@pytest.mark.slow
def test_a_table_whose_images_lie_elsewhere_goes_the_whole_way(flat, store, capsys):
    """Slow: trains, exports and quantizes."""
    cells = [(f"C:\\ada\\all\\{k}.png", f"{k},{NAMES[k % 2]}") for k in range(16)]
    table = str(write(store / "t.csv", "photo,age,breed", cells))
    where = ["--data", table, "--label", "breed", "--images", str(flat), "--follow-links"]
    assert main(["run", "mlp-small", *where, "--set", "epochs=1"]) == 0
    assert main(["verify", "exports/t/mlp-small", *where]) == 0
    assert main(["verify", "exports/t/mlp-small", *where[:2]]) == 1
    assert "name the column with their class by --label" in capsys.readouterr().err
    assert main(["quantize", "exports/t/mlp-small", "--precision", "float16", *where]) == 0
    assert main(["promote", "exports/t/mlp-small"]) == 0  # by the plan of its run


@pytest.mark.parametrize("option", [{"groups": "none"}, {"images": Path()}, {"follow_links": True}])
def test_what_goes_with_folders_and_tables_is_refused_with_a_known_data_set(option):
    with pytest.raises(DataError, match="digits is a known data set: --"):
        load("digits", **option)


# --- tables of values ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("separator", SEPARATORS)
def test_a_table_of_values_may_be_written_in_any_way_too(tmp_path, capsys, separator, encoding):
    cells = [(f"{k % 5 + k / 10}", NAMES[k % 2]) for k in range(20)]
    path = write(tmp_path / "t.csv", " Age ,Kind", cells, SEPARATORS[separator], ENCODINGS[encoding])
    data = load(str(path), label="kind")
    assert (data.labels, [column.name for column in data.columns]) == (tuple(sorted(NAMES)), ["Age"])
    assert main(["data", "check", str(path), "--label", "kind"]) == 0
    printed = capsys.readouterr().out
    assert (f"separated by {separator}" in printed) == (not separator.startswith("commas"))
    assert (f"text as {encoding}" in printed) == (encoding in ("UTF-16", "Windows-1252"))


def test_its_column_split_may_be_written_as_people_write_it(tmp_path):
    cells = [f"{k},{NAMES[k % 2]},{('Training', 'VAL', 'Testing')[k % 3]}" for k in range(30)]
    (tmp_path / "t.csv").write_text("\n".join(["a,kind,Split", *cells]), encoding="utf-8")
    data = load(str(tmp_path / "t.csv"), label="kind")
    assert [column.name for column in data.columns] == ["a"]
    assert [len(getattr(data, split)) for split in SPLITS] == [10, 10, 10]
