"""`zoo data check`: every broken file and every duplicate in a mess of real letters is found, and told safely."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil

import numpy as np
import pytest
from glyphs import fonts, mix_in, save_letters
from PIL import Image

from pipelines.cli import main
from pipelines.datasets.check import data_check
from pipelines.datasets.report import write_splits
from zoo.data import load
from zoo.data.folders import findings

BROKEN, COPIES, REDONE = 10, 20, 20


@pytest.fixture(scope="module")
def messy(tmp_path_factory):
    root = tmp_path_factory.mktemp("messy") / "letters"
    save_letters(root, fonts()[::6], 12)
    return root, mix_in(root, BROKEN, COPIES, REDONE)


@pytest.fixture(scope="module")
def report(messy):
    return data_check(messy[0])


def test_every_broken_file_is_found_with_its_reason(messy, report):
    assert {problem.file for problem in report.unreadable} == messy[1].broken
    assert {problem.kind for problem in report.unreadable} == {"empty", "damaged", "not an image", "too large"}
    assert all(problem.file.rpartition("/")[2] in problem.sentence for problem in report.unreadable)


def test_every_copy_is_found_and_nothing_else(messy, report):
    found = [set(same.files) for same in report.same if same.kind == "equal"]
    assert sorted(map(sorted, found)) == sorted(map(sorted, messy[1].copies))
    assert report.surplus["equal"] == COPIES


def test_images_that_were_saved_anew_are_found_as_near(messy, report):
    found = [set(same.files) for same in report.same if same.kind == "near"]
    redone = messy[1].redone
    assert sum(any(pair <= same for same in found) for pair in redone) >= 0.9 * len(redone)
    assert all(any(pair & same for pair in redone) for same in found)


def test_copies_are_said_in_one_sentence(report):
    (said,) = [finding.sentence for finding in report.findings if "duplicates stay in" in finding.sentence]
    near = report.surplus["near"]
    assert said == (
        f"{COPIES} images exactly repeat another, {near} images nearly repeat another: duplicates stay in one "
        "split, and all of them are used"
    )


def test_counts_add_up(report):
    assert len(report.classes) == 26
    assert sum(found.images for found in report.classes) == report.readable == report.files - BROKEN
    assert sum(report.formats.values()) == sum(report.modes.values()) == report.readable
    assert sum(size.images for size in report.sizes) == report.readable
    assert {"CMYK", "I;16", "RGBA", "P", "1"} <= set(report.modes)


def test_duplicates_are_never_apart(messy, report, tmp_path):
    data = load(str(messy[0]), size=(16, 16))
    place = {name: split for split in ("train", "validation", "test") for name in getattr(data, split).names}
    for same in report.same:
        assert len({place[file] for file in same.files}) == 1
    write_splits(tmp_path / "splits.csv", data)
    assert (tmp_path / "splits.csv").read_bytes().count(b"\n") == 1 + report.readable


def test_what_is_in_two_splits_or_classes_is_told_first(tmp_path):
    for split, seed in (("train", 1), ("test", 2)):
        save_letters(tmp_path / split, fonts()[:3], 2, seed)
    shutil.copy(next((tmp_path / "test" / "q").iterdir()), tmp_path / "train" / "q" / "leaked.png")
    shutil.copy(next((tmp_path / "train" / "b").iterdir()), tmp_path / "train" / "d" / "twice.png")
    report = data_check(tmp_path)
    assert report.same[0].splits == ("train", "test")
    assert report.same[1].labels == ("b", "d")
    assert [finding.sentence.split(" can be")[0] for finding in report.findings[:2]] == ["1 image", "1 image"]
    data = load(str(tmp_path))
    assert "train/q/leaked.png" not in data.train.names
    assert "pixel by pixel or by their group, and are left out of train" in data.skipped[0]


def test_a_rare_class_is_told_with_what_to_do(tmp_path):
    save_letters(tmp_path, fonts()[:3], 16)
    for path in sorted((tmp_path / "m").iterdir())[3:]:
        path.unlink()
    (finding,) = [finding for finding in data_check(tmp_path).findings if "times the images" in finding.sentence]
    assert "--set balance=classes" in finding.sentence


def test_a_folder_that_nothing_can_be_learned_from_ends_in_one_sentence(tmp_path, capsys):
    Image.new("L", (8, 8)).save(tmp_path / "x.png")
    (tmp_path / "only").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "only" / "x.png")
    assert main(["data", "check", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert "not usable yet" in printed.out
    assert "zoo: " in printed.err
    assert "holds one class, 'only'" in printed.err


def test_images_named_as_another_format_are_used_and_told(tmp_path):
    save_letters(tmp_path, fonts()[:3], 3)
    Image.effect_noise((20, 20), 60).save(tmp_path / "a" / "noise.jpg", "PNG")
    (problem,) = data_check(tmp_path).wrongly_named
    assert problem.file == "a/noise.jpg"
    assert "is a PNG" in problem.sentence
    data = load(str(tmp_path))
    assert "a/noise.jpg" in [*data.train.names, *data.validation.names, *data.test.names]


def test_bad_files_can_end_the_training_before_it_begins(messy, capsys):
    assert main(["train", "softmax", "--data", str(messy[0]), "--on-bad", "fail"]) == 1
    assert f"{BROKEN} of " in capsys.readouterr().err


def test_json_has_it_all(messy, capsys):
    assert main(["data", "check", str(messy[0]), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["unreadable"]) == BROKEN
    assert found["verdict"] == "usable, but see the findings"


def test_the_page_runs_nothing_and_loads_nothing_whatever_files_are_called(tmp_path):
    root = tmp_path / "<script>alert(1)</script>".replace("/", "_")
    save_letters(root, fonts()[:2], 4)
    (root / "a").rename(root / '<img src=x onerror="alert(2)">')
    (root / "b" / "<b>bold.png").write_bytes(b"no")
    (root / "b" / "a\u202egnp.png").write_bytes(b"no")
    page = tmp_path / "page.html"
    data_check(root, page=page)
    text = page.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    for raw in ("<script", "<img src=x", "<b>bold", "\u202e"):
        assert raw not in text
    assert "&lt;b&gt;bold.png" in text
    images = re.findall(r'"data:image/png;base64,([^"]*)"', text)
    assert len(images) == text.count("data:image/png") == 3
    for image in images:
        Image.open(io.BytesIO(base64.b64decode(image, validate=True))).load()


def test_more_than_a_report_lists_is_counted_and_the_smallest_classes_are_named(tmp_path, monkeypatch, capsys):
    random = np.random.default_rng(1)
    for k in range(42):
        (tmp_path / f"class {k}").mkdir()
        for place in range(3 + (k != 41)):
            image = random.integers(0, 256, (8, 8 + k % 5), np.uint8)
            for name in ("a", "b"):
                Image.fromarray(image).save(tmp_path / f"class {k}" / f"{place}{name}.png")
    monkeypatch.setattr(findings, "MOST_SIZES", 3)
    monkeypatch.setattr(findings, "MOST_GROUPS", 30)
    page = tmp_path.parent / "page.html"
    assert main(["data", "check", str(tmp_path), "--html", str(page)]) == 0
    printed = capsys.readouterr().out
    assert "and 147 more groups of duplicates" in printed
    text = page.read_text(encoding="utf-8")
    assert "Images of each class, the 40 largest of 42: class" in text
    assert "The 3 most common of 5 image sizes" in text
    rows = text.split("Classes (42), those with the fewest images first")[1]
    assert rows.index("class 41") < rows.index("class 0")


def test_names_that_a_terminal_would_obey_are_printed_as_text(tmp_path, capsys):
    save_letters(tmp_path, fonts()[:2], 4)
    for name in ("\x1b[31mred.png", "two\nlines.png", os.fsdecode(b"caf\xe9.png")):
        shutil.copy(next((tmp_path / "a").glob("a*")), tmp_path / "a" / name)
    (tmp_path / "b" / "\x1b[31mbroken.png").touch()
    assert main(["data", "check", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "\\x1b[31mbroken.png is empty" in printed
    assert main(["data", "check", str(tmp_path), "--json"]) == 0
    capsys.readouterr().out.encode()  # a stream that is strict about its encoding would end it


def test_the_splits_of_a_run_can_be_given_again(tmp_path):
    save_letters(tmp_path / "letters", fonts()[:3], 6)
    data = load(str(tmp_path / "letters"))
    again = tmp_path / "letters" / "splits.csv"
    write_splits(again, data)
    assert load(str(again)).digest == data.digest


def test_images_that_nearly_all_look_alike_can_be_learned_from(tmp_path):
    dice = np.random.default_rng(0)
    scene = dice.integers(0, 256, (4, 4), dtype=np.uint8)
    for label in ("good", "scratched"):
        (tmp_path / label).mkdir()
        for k in range(20):
            image = np.asarray(Image.fromarray(scene).resize((64, 64), Image.Resampling.BICUBIC), int)
            image = image + dice.integers(-3, 4, image.shape)
            if label == "scratched":
                top, left = dice.integers(0, 58, 2)
                image[top : top + 4, left : left + 4] = 255
            Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(tmp_path / label / f"{k}.png")
    data = load(str(tmp_path))
    assert (len(data.train), len(data.validation), len(data.test)) == (28, 4, 8)
    assert any("only exact duplicates are kept in one split" in finding.sentence for finding in data.report.findings)


def test_a_page_that_cannot_be_written_is_told(messy, tmp_path, capsys):
    assert main(["data", "check", str(messy[0]), "--html", str(tmp_path / "no" / "page.html")]) == 1
    assert "page.html can't be written" in capsys.readouterr().err
    assert main(["data", "check", str(messy[0]), "--html", str(tmp_path)]) == 1
    assert "it is a folder" in capsys.readouterr().err


def test_arrays_can_be_checked(tmp_path):
    images = np.random.RandomState(0).randint(0, 256, (12, 6, 6)).astype(np.uint8)
    images[7] = images[1]
    np.savez(tmp_path / "tiny.npz", images=images, labels=np.arange(12) % 2)
    report = data_check(tmp_path / "tiny.npz")
    assert (report.files, report.formats, report.surplus["equal"]) == (12, {"array": 12}, 1)
