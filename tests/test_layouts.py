"""The layouts that people have their images in: folders, tables of files, arrays, and what is wrong with each."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.core.provenance.reading import find_test_set
from zoo.contract import Metadata
from zoo.data import load
from zoo.data.folders.layouts import list_images
from zoo.data.listing import ListedNames, Names
from zoo.errors import DataError, VerificationError
from zoo.files import natural

SHAPES = ("round", "square")


def save(path: Path, seed: int) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.RandomState(seed).randint(0, 256, (8, 8, 3)).astype(np.uint8)).save(path)
    return path.name


def rows_of(folder: Path, images: int = 12) -> list[dict[str, str]]:
    """Images in one folder, and the rows of a table that says what they show."""
    return [
        {"path": f"all/{save(folder / 'all' / f'{k} ü.png', k)}", "label": SHAPES[k % 2], "note": f'"{k}", a note'}
        for k in range(images)
    ]


def write_csv(path: Path, rows: list[dict[str, str]]) -> Path:
    quoted = [['"' + value.replace('"', '""') + '"' for value in row.values()] for row in rows]
    path.write_text("\n".join([",".join(rows[0]), *(",".join(row) for row in quoted)]) + "\n", encoding="utf-8")
    return path


def write_jsonl(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n", encoding="utf-8")
    return path


def told(path: Path, **options) -> str:
    with pytest.raises(DataError) as error:
        load(str(path), **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(("write", "name"), [(write_csv, "shapes.csv"), (write_jsonl, "shapes.jsonl")])
def test_a_table_says_what_each_file_shows(tmp_path, write, name):
    data = load(str(write(tmp_path / name, rows_of(tmp_path))))
    assert (data.name, data.labels) == ("shapes", SHAPES)
    for split in (data.train, data.validation, data.test):
        for file, label in zip(split.names, split.labels, strict=True):
            assert label == int(Path(file).stem.split()[0]) % 2


def test_a_table_may_name_the_splits(tmp_path):
    rows = rows_of(tmp_path)
    for k, row in enumerate(rows):
        row["split"] = ("train", "val", "test")[k // 4]
    data = load(str(write_csv(tmp_path / "shapes.csv", rows)))
    assert [sorted(int(Path(name).stem.split()[0]) for name in split.names) for split in (data.train, data.test)] == [
        [0, 1, 2, 3],
        [8, 9, 10, 11],
    ]
    rows[5]["split"] = ""
    assert "names no split, though other rows do" in told(write_csv(tmp_path / "shapes.csv", rows))
    rows[5]["split"] = "exam"
    assert "line 7, names the split 'exam'" in told(write_csv(tmp_path / "shapes.csv", rows))


def test_images_of_one_group_are_never_apart(tmp_path):
    rows = rows_of(tmp_path, 60)
    for k, row in enumerate(rows):
        row["patient"] = f"p{k // 5}"
    data = load(str(write_csv(tmp_path / "shapes.csv", rows)), groups="patient")
    patients = [{int(Path(n).stem.split()[0]) // 5 for n in s.names} for s in (data.train, data.validation, data.test)]
    assert all(patients)
    assert sum(map(len, patients)) == 12
    assert "did you mean patient" in told(tmp_path / "shapes.csv", groups="patients")


def test_an_export_finds_the_test_images_that_its_groups_left_it(tmp_path):
    rows = [{**row, "patient": f"p{k // 5}"} for k, row in enumerate(rows_of(tmp_path, 60))]
    path = str(write_csv(tmp_path / "shapes.csv", rows))
    data = load(path, groups="patient", resizing="pad")
    about = {"model": "softmax", "family": "dense", "data_set": "shapes", "data_digest": data.digest}
    made = {"recipe": {}, "run_id": "0" * 32, "commit": "", "weights_sha256": "", "test_accuracy": 0.5}
    size = {"height": data.height, "width": data.width, "channels": data.channels, "labels": data.labels}
    metadata = Metadata(**about, **made, **size, groups="patient", resizing="pad")
    assert list(find_test_set(metadata, path).names) == list(data.test.names)
    with pytest.raises(VerificationError, match="give the same ones with --data"):
        find_test_set(replace(metadata, groups=""), path)


def test_sub_folders_of_a_class_may_be_groups(tmp_path):
    for label in SHAPES:
        for k in range(40):
            save(tmp_path / label / f"day {k // 8}" / f"{k}.png", 100 * len(label) + k)
    data = load(str(tmp_path), groups="folder")
    days = [{"/".join(name.split("/")[:2]) for name in s.names} for s in (data.train, data.validation, data.test)]
    assert sum(map(len, days)) == 10
    assert "no column 'day'" in told(tmp_path, groups="day")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("all/0 ü.png,round,x,y", "has 4 values in line 3, expected 3"),
        ("all/0 ü.png", "has 1 values in line 3, expected 3"),
        (",round,x", "line 3, has no path"),
        ("all/0 ü.png,,x", "line 3, has no label"),
    ],
)
def test_a_row_that_is_not_whole_is_told_by_its_line(tmp_path, line, message):
    rows = rows_of(tmp_path)[:1]
    path = write_csv(tmp_path / "shapes.csv", rows)
    path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    assert message in told(path)


def test_tables_that_are_none_are_told(tmp_path):
    path = tmp_path / "shapes.csv"
    path.write_text("a,b\n1,round\n")
    assert "a table of images has the columns path and label" in told(path)
    path.write_text("path,label\n")
    assert "holds no rows" in told(path)
    path.write_text('path,label\n"x.png,round\n')
    assert "is damaged in line 2" in told(path)
    path = tmp_path / "shapes.jsonl"
    path.write_text('{"what": "x", "label": "round"}\n')
    assert "lacks a column with the names of images: no column is called 'path'" in told(path)
    path.write_text('{"path": "x.png", "label": "round"}\n["x.png"]\n')
    assert "line 2, isn't a JSON object" in told(path)
    path.write_text("{]")
    assert "line 1, is not JSON" in told(path)


def test_a_table_reaches_nothing_outside_of_its_folder(tmp_path):
    save(tmp_path / "secret.png", 1)
    inside = tmp_path / "shapes"
    rows = rows_of(inside)
    (inside / "all" / "link.png").symlink_to(tmp_path / "secret.png")
    rows += [{**rows[0], "path": path} for path in ("../secret.png", str(tmp_path / "secret.png"), "all/link.png")]
    listing = list_images(write_csv(inside / "shapes.csv", rows))
    assert len(listing) == 12
    assert [problem.kind for problem in listing.left_out] == ["outside of the folder"] * 3


def test_a_link_to_an_image_is_followed_inside_of_the_folder_alone(tmp_path):
    save(tmp_path / "secret.png", 1)
    inside = tmp_path / "shapes"
    for label in SHAPES:
        for k in range(3):
            save(inside / label / f"{k}.png", k)
    (inside / "round" / "outside.png").symlink_to(tmp_path / "secret.png")
    (inside / "round" / "inside.png").symlink_to(inside / "round" / "0.png")
    listing = list_images(inside)
    assert "round/inside.png" in listing.files
    assert [(problem.file, problem.kind) for problem in listing.left_out] == [
        ("round/outside.png", "link to elsewhere")
    ]


@pytest.mark.parametrize("names", [("x_train", "y_train", "x_test", "y_test"), ("images", "labels")])
def test_arrays_are_images_too(tmp_path, names):
    dice = np.random.RandomState(0)
    arrays = {}
    for images, labels in zip(names[::2], names[1::2], strict=True):
        arrays[images] = dice.randint(0, 256, (40, 6, 5)).astype(np.uint8)
        arrays[labels] = np.arange(40).reshape(40, 1) % 11
    np.savez_compressed(tmp_path / "tiny.npz", **arrays)
    data = load(str(tmp_path / "tiny.npz"))
    assert (data.name, data.labels) == ("tiny", tuple(map(str, range(11))))
    assert data.train.inputs.shape[1:] == (6, 5, 1)
    assert sum(len(split) for split in (data.train, data.validation, data.test)) == 40 * len(names) // 2
    name = data.test.names[3]
    source, place = name.rstrip("]").split("[")
    np.testing.assert_array_equal(data.test.inputs[3][..., 0], arrays[source][int(place)])


def test_arrays_that_are_no_images_are_told(tmp_path):
    path = tmp_path / "tiny.npz"
    np.savez(path, images=np.zeros((4, 8, 8)), labels=np.arange(4))
    assert "images in" in told(path)
    assert "expected uint8" in told(path)
    np.savez(path, images=np.zeros((4, 8, 8), np.uint8), labels=np.arange(3))
    assert "a whole number or a name for each of the 4 images" in told(path)
    np.savez(path, images=np.zeros(4))
    assert "holds images, expected" in told(path)
    np.savez(path, images=np.array([{}, {}], object), labels=np.arange(2))
    assert "can't be read as arrays" in told(path)  # a pickle, which could run anything
    images, labels = np.zeros((4, 8, 8), np.uint8), np.arange(4)
    np.savez(path, x_train=images, y_train=labels, x_test=images)
    assert "holds x_test, without the array that belongs to it" in told(path)
    np.savez(path, images=images, labels=labels)
    assert "have no column 'patient'" in told(path, groups="patient")
    np.savez(path, images=images[:, :0], labels=labels)
    assert "expected uint8" in told(path)
    path.write_bytes(b"PK\x03\x04 no more")
    assert "can't be read as arrays" in told(path)


def test_splits_beside_something_else_are_not_taken_for_classes(tmp_path):
    for split in ("train", "test"):
        for label in SHAPES:
            for k in range(4):
                save(tmp_path / split / label / f"{k}.png", len(split + label) + 9 * k)
    save(tmp_path / "unlabeled" / "x.png", 1)
    assert "next to them 'unlabeled'" in told(tmp_path)


def test_images_beside_the_classes_are_told(tmp_path):
    for label in SHAPES:
        for k in range(4):
            save(tmp_path / label / f"{k}.png", 10 * len(label) + k)
    save(tmp_path / "loose.png", 1)
    data = load(str(tmp_path))
    assert [problem.kind for problem in data.report.left_out] == ["in no class"]
    assert "loose.png lies in no class's folder" in data.skipped[0]


def test_a_group_may_be_called_0_and_none_may_be_missing(tmp_path):
    rows = [{**row, "group": k // 6} for k, row in enumerate(rows_of(tmp_path, 60))]
    data = load(str(write_jsonl(tmp_path / "shapes.jsonl", rows)))
    groups = [{int(Path(n).stem.split()[0]) // 6 for n in s.names} for s in (data.train, data.validation, data.test)]
    assert sum(map(len, groups)) == 10
    del rows[7]["group"]
    assert "line 8, has no group, by which" in told(write_jsonl(tmp_path / "shapes.jsonl", rows), groups="group")


def test_a_group_in_two_given_splits_is_left_out_of_the_one_that_learns(tmp_path):
    rows = rows_of(tmp_path, 40)
    for k, row in enumerate(rows):
        row["split"], row["group"] = ("test" if k % 5 == 0 else "train"), f"g{k // 10}"
    rows += [
        {**rows[k], "path": f"all/{save(tmp_path / 'all' / f'{k} more.png', 100 + k)}"} for k in (1, 2, 5, 6, 3, 7)
    ]
    for row in rows[-6:]:
        row["group"] = f"{row['path']}"
    data = load(str(write_csv(tmp_path / "shapes.csv", rows)))
    assert {name.split()[1] for name in (*data.train.names, *data.validation.names)} == {"more.png"}
    assert "by their group" in data.skipped[0]


def test_a_link_to_itself_is_one_more_file_that_cannot_be_read(tmp_path):
    for label in SHAPES:
        for k in range(30):
            save(tmp_path / label / f"{k}.png", 100 * len(label) + k)
    (tmp_path / "round" / "loop.png").symlink_to(tmp_path / "round" / "loop.png")
    (problem,) = load(str(tmp_path)).report.unreadable
    assert problem.file == "round/loop.png"


def test_a_name_that_nothing_can_be_filed_under_is_told(tmp_path):
    for folder in ("two\nlines", os.fsdecode(b"caf\xe9")):
        for label in SHAPES:
            for k in range(3):
                save(tmp_path / folder / label / f"{k}.png", 10 * len(label) + k)
        assert "rename it" in told(tmp_path / folder)
    assert "rename it" in told(write_csv(tmp_path / "...csv", rows_of(tmp_path)))


def test_names_sort_by_the_numbers_in_them():
    assert sorted(["b10", "b9", "B1", "a 2", "a 10"], key=natural) == ["a 2", "a 10", "B1", "b9", "b10"]


def test_many_names_read_as_a_list_of_them():
    names = ["a", "", "ü ö", "x/y.png", "\udcff"]
    listed = ListedNames()
    for name in names:
        listed.append(name)
    for kept in (Names(names), listed):
        assert (list(kept), len(kept), kept[-1], kept[1:4]) == (names, 5, "\udcff", names[1:4])
        for missing in (5, -6):
            with pytest.raises(IndexError):
                kept[missing]
    taken = listed.take(np.array([4, 0, 0, 2]))
    assert (list(taken), taken[-1], list(taken.take(np.array([1])))) == (["\udcff", "a", "a", "ü ö"], "ü ö", ["a"])


def test_where_there_are_no_images_it_is_told_what_would_be_some(tmp_path):
    np.savez(tmp_path / "none.npz", images=np.zeros((0, 8, 8), np.uint8), labels=np.zeros(0, np.int64))
    rows = "".join(f"nowhere/{k}.png,{'ab'[k % 2]}\n" for k in range(6))
    (tmp_path / "none.csv").write_text("path,label\n" + rows, encoding="utf-8")
    (tmp_path / "none").mkdir()
    for name, expected in (
        ("none.npz", "expected arrays that aren't empty"),
        ("none.csv", "expected rows of none.csv whose path leads to an image beside or below it"),
        ("none", "expected a sub-folder for each class"),
    ):
        with pytest.raises(DataError, match=f"holds no images.*{expected}"):
            load(str(tmp_path / name))
