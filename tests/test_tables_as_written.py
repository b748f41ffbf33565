"""Tables of images and of values, however they are written: understood, with what was a choice said, or asked about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from folders import make
from PIL import Image

from pipelines.cli import main
from pipelines.core.provenance.plan import load_data, make_plan, parse_plan
from pipelines.core.provenance.reading import Located, find_test_set
from zoo.contract import Metadata
from zoo.data import load
from zoo.data.folders.files_table import names_images
from zoo.data.folders.layouts import list_images
from zoo.data.listing import SPLITS
from zoo.data.registry import holds_values
from zoo.errors import DataError
from zoo.tables import _read, read_text_table

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
    with pytest.raises(DataError, match=r"names images, in column 'File': name the column .* with --label, one of B"):
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
    with pytest.raises(DataError, match=r"outside of .*: move it there, or name its folder with --images"):
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


def test_a_long_table_in_utf_16_is_read_to_its_end(flat):
    """As Excel saves "Unicode text": a byte of a letter may look like the end of a line."""
    rows = ["path\tlabel", *(f"{k % 2}.png\t{'ab'[k % 2]}ఊ" for k in range(20_000))]
    path = flat / "images.txt"
    path.write_bytes(b"\xff\xfe" + "\r\n".join(rows).encode("utf-16-le"))
    assert names_images(path, None)
    text, encoding = _read(path, 2**18)
    assert (encoding, text.endswith("\n"), "\ufffd" in text) == ("UTF-16", True, False)


def test_files_may_have_endings_in_any_case_and_of_several_kinds(tmp_path):
    for k in range(12):
        Image.new("L", (4, 4), 20 * k).save(tmp_path / f"{k}.{('jpg', 'png', 'JPG', 'PNG')[k % 4]}")
    (tmp_path / "images.csv").write_text("\n".join(["id,label", *(f"{k},{'ab'[k // 6]}" for k in range(12))]))
    data = load(str(tmp_path / "images.csv"))
    assert (sum(map(len, (data.train, data.validation, data.test))), data.skipped) == (12, ())


def test_a_cell_may_be_as_long_as_a_line(tmp_path):
    """A polygon, or an image in Base64."""
    rows = [f"{k},{'x' * 200_000 if k == 3 else ''},{'ab'[k % 2]}" for k in range(30)]
    (tmp_path / "t.csv").write_text("\n".join(["size,note,kind", *rows]))
    assert len(read_text_table(tmp_path / "t.csv").rows[3][1]) == 200_000
    with pytest.raises(
        DataError, match=r"has a text of 200,000 letters in line 5, column 'note', .*: remove the column"
    ):
        load(str(tmp_path / "t.csv"), label="kind")  # a file names its categories, each in 1,000 letters at most


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("1,234", "nothing between thousands, and a point for a decimal comma"),
        ("1,234,567.5", "nothing between thousands"),
        ("1,5", "a point for the comma"),
    ],
)
def test_commas_in_numbers_are_told_by_what_they_mean(tmp_path, value, told):
    rows = [f'"{value}",a', *(f"{k},{'ab'[k % 2]}" for k in range(30))]
    (tmp_path / "t.csv").write_text("\n".join(["price,kind", *rows]))
    with pytest.raises(DataError, match=told):
        load(str(tmp_path / "t.csv"), label="kind")


def test_numbers_with_separators_that_all_differ_are_no_names_of_images(tmp_path):
    rows = [f'"{k},{100 + k},000",{"ab"[k % 2]}' for k in range(1, 31)]
    (tmp_path / "t.csv").write_text("\n".join(["people,kind", *rows]))
    with pytest.raises(DataError, match="nothing between thousands"):
        load(str(tmp_path / "t.csv"), label="kind")


def test_a_column_that_names_splits_is_a_finding(tmp_path, capsys):
    rows = [f"{k},{('train', 'val', 'test')[k % 3]},{'ab'[k % 2]}" for k in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["size,subset,kind", *rows]))
    assert main(["data", "check", str(tmp_path / "t.csv"), "--label", "kind"]) == 0
    assert (
        "column 'subset' names splits, but the model would learn from it: rename it to split" in capsys.readouterr().out
    )


def test_a_table_that_was_appended_to_itself_is_no_table_of_few_combinations(tmp_path):
    rows = [f"{k},{k * k},{'ab'[k % 2]}" for k in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["size,area,kind", *rows, *rows]))
    data = load(str(tmp_path / "t.csv"), label="kind")
    seen = {tuple(row) for row in data.train.inputs.tolist()}
    assert not seen & {tuple(row) for row in data.test.inputs.tolist()}


@pytest.mark.parametrize("name", ["d.npz", "d.xlsx", "d.parquet"])
def test_a_label_makes_no_text_of_other_files(tmp_path, name):
    (tmp_path / name).write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError) as caught:
        load(str(tmp_path / name), label="y")
    assert "UTF-8" not in str(caught.value)


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
    with pytest.raises(DataError, match="with --label, one of age, breed"):
        load(str(path), images=flat)
    plan = make_plan("conv-tiny", str(path), label="breed", images=flat, follow_links=True)
    assert parse_plan(plan.to_json(), "plan.json") == plan
    data = load_data(plan)
    about = {"model": "softmax", "family": "dense", "data_set": "t", "data_digest": data.digest, "weights_sha256": ""}
    made = {"recipe": {}, "run_id": "0" * 32, "commit": "", "test_accuracy": 0.5, "labels": data.labels}
    metadata = Metadata(**about, **made, height=data.height, width=data.width, channels=data.channels)
    found = find_test_set(metadata, Located(str(path), "breed", flat))
    assert list(found.names) == list(data.test.names)
    with pytest.raises(DataError, match="with --label, one of age, breed"):
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
    assert "name the column with their class with --label" in capsys.readouterr().err
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
