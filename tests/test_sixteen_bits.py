"""Images of 16 bits that use fewer: white is decided once for a data set, and images of one color are found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import zoo
from pipelines.cli import main
from pipelines.datasets.check import data_check
from zoo.contract import MANIFEST_FILE, WHITE, Metadata, read_manifest
from zoo.data import load
from zoo.errors import ExportError
from zoo.images import read_image

TWELVE = 4095
BITS = (8, 10, 12, 14, 16)
FORMATS = ("png", "tif")


def save(root: Path, bits: int, ending: str, count: int = 12, side: int = 8) -> None:
    """Two classes of noise in files of 16 bits, with values of as many bits as are said; the darker class has half."""
    random = np.random.default_rng(bits)
    for label, share in (("bright", 1.0), ("dark", 0.5)):
        (root / label).mkdir(parents=True)
        for k in range(count):
            values = random.integers(0, int(share * 2**bits), (side, side)).astype(np.uint16)
            values[0, 0] = int(share * (2**bits - 1))
            Image.fromarray(values).save(root / label / f"{k}.{ending}")


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("bits", BITS)
def test_the_whole_data_set_is_brightened_alike(tmp_path, bits, ending):
    save(tmp_path / "scans", bits, ending)
    found = load(str(tmp_path / "scans"))
    assert found.white == 2**bits - 1
    pixels = {
        label: np.concatenate([s.inputs[s.labels == k] for s in (found.train, found.validation, found.test)])
        for k, label in enumerate(found.labels)
    }
    assert pixels["bright"].max() == 255
    assert 126 <= pixels["dark"].max() <= 128, "one white for both, or the classes would be told apart by it"
    assert len(np.unique(pixels["bright"])) > 200
    sentences = [finding.sentence for finding in data_check(tmp_path / "scans").findings]
    expected = [] if bits == 16 else [f"24 images of 16 bits use {bits} of them (values up to {2**bits - 1:,})"]
    assert [sentence.partition(":")[0] for sentence in sentences if "16 bits" in sentence] == expected


def test_images_of_eight_bits_beside_them_stay_as_they_are(tmp_path):
    save(tmp_path / "scans", 12, "png")
    Image.new("L", (8, 8), 200).save(tmp_path / "scans" / "dark" / "gray.png")
    found = load(str(tmp_path / "scans"))
    splits = (found.train, found.validation, found.test)
    images = {name: image for split in splits for name, image in zip(split.names, split.inputs, strict=True)}
    assert (images["dark/gray.png"] == 200).all()


@pytest.mark.parametrize("white", [255, 1023, 4095, 16383, WHITE])
def test_sixteen_bits_become_eight_by_rounding(tmp_path, white):
    values = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    Image.fromarray(values).save(tmp_path / "all.png")
    expected = np.floor(np.minimum(values, white) / white * 255 + 0.5).astype(np.uint8)
    np.testing.assert_array_equal(read_image(tmp_path / "all.png", 1, white)[..., 0], expected)


@pytest.mark.parametrize("color", ["black", "white", "gray"])
def test_images_of_one_color_are_found(tmp_path, color, capsys):
    save(tmp_path / "scans", 16, "png")
    for k in range(2):
        Image.new("RGB", (8, 8 + k), color).save(tmp_path / "scans" / "dark" / f"z{k}.png")
    assert main(["data", "check", str(tmp_path / "scans")]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "2 images of one color throughout, such as black or white" in printed
    assert "z0.png' is the first" in printed


# --- in an exported file -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(shared_store):
    """The export of a model that learned images of 12 bits."""
    save(shared_store / "scans", 12, "png", count=40)
    assert main(["run", "softmax", "--data", "scans", "--set", "epochs=20", "--set", "learning_rate=0.05"]) == 0
    return shared_store / "exports/scans/softmax"


def test_file_manifest_and_card_say_what_is_white(exported):
    assert zoo.load(exported).metadata.white == read_manifest(exported).metadata.white == TWELVE
    assert "White is 4,095 in 16-bit images" in (exported / "README.md").read_text(encoding="utf-8")
    assert main(["verify", str(exported), "--data", str(exported.parents[2] / "scans")]) == 0


def test_an_app_s_image_goes_through_the_same(exported, tmp_path):
    save(tmp_path, 12, "tif", count=3)
    classifier = zoo.load(exported)
    for path in sorted(tmp_path.rglob("*.tif")):
        values = np.asarray(Image.open(path)).astype(np.float64)
        pixels = np.floor(values / TWELVE * 255 + 0.5).astype(np.uint8)
        expected = classifier.probabilities(pixels[np.newaxis, ..., np.newaxis])[0]
        for source in (path, path.read_bytes(), Image.open(path)):
            assert classifier.predict(source).probability == pytest.approx(expected.max())


@pytest.mark.parametrize("white", [0, -1, 65536, 4095.0, "4095", True, None])
def test_what_can_be_no_white_is_refused(white):
    fixture = Path(__file__).parent / "runtime/fixture/digits/softmax"
    found = json.loads((fixture / MANIFEST_FILE).read_text(encoding="utf-8"))["metadata"]
    with pytest.raises(ExportError, match="no sensible white"):
        Metadata.from_json({**found, "white": white}, "it")
    assert "white" not in found, "as files say that are older than the choice"
