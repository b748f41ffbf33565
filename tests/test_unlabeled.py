"""Images that a table names, found alike by whoever reads the table, and from whichever row on."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from zoo.data.unlabeled import Unread, unlabeled_images
from zoo.errors import ImageError

TABLES = {
    "where it was written": [f"{k}.png" for k in range(3)],
    "another computer": [f"/old/{k}.png" for k in range(3)],
    "two other computers": [*(f"/old/{k}.png" for k in range(2)), "/new/disk/2.png"],
    "first a file that isn't there": ["/gone/x.png", "/new/disk/2.png", "/old/1.png"],
    "an address": ["https://host/pets/1.png", "/old/imgs/2.png"],
    "as it is written": ["1.png", "/old/2.png", "/new/disk/1.png"],
    "names without an ending": ["/old/0", "/old/1", "2"],
    "one name without an ending": ["/old/0.png", "/old/both"],
}


@pytest.mark.parametrize("rows", TABLES.values(), ids=TABLES)
def test_each_process_finds_what_one_alone_finds(tmp_path: Path, rows: list[str]) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for name in ("0.png", "1.png", "2.png", "both.jpg", "both.png"):
        Image.new("L", (2, 2)).save(images / name)
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["path", *rows]))

    def found(pass_on: Callable[[list[Unread]], list[Unread]]) -> list[str]:
        return [source_of(image) for image in pass_on(list(unlabeled_images(table, images=images)))]

    alone = [source_of(image) for image in unlabeled_images(table, images=images)]
    apart = found(lambda listed: [pickle.loads(pickle.dumps(image)) for image in listed])
    backward = found(lambda listed: listed[::-1])[::-1]
    assert alone == apart == backward
    assert any(Path(each).is_file() for each in alone)


def test_all_rows_leave_out_as_many_folders_as_the_first_that_needs_to(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in ("1.png", "2.png"):
        Image.new("L", (2, 2)).save(tmp_path / "images" / name)
    table = tmp_path / "table.csv"
    table.write_text("path\n1.png\n/old/2.png\n/new/disk/1.png\n")
    *found, other = (source_of(image) for image in unlabeled_images(table, images=tmp_path / "images"))
    assert [Path(each).name for each in found] == ["1.png", "2.png"]
    assert "lies outside of" in other


def source_of(image: Unread) -> str:
    try:
        return str(image.source())
    except ImageError as error:
        return str(error)
