"""The page of all exports: every number is a manifest's, and the one in git is the one that its manifests give."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image

from pipelines.cli import main
from pipelines.publishing.gallery import CHART_FILE, PAGE_FILE, gallery
from pipelines.publishing.literature import PUBLISHED, TARGETS
from zoo.contract import MANIFEST_FILE, read_manifest
from zoo.errors import ExportError
from zoo.models import definition, definitions
from zoo.recipe import Recipe

ROOT = Path(__file__).parent.parent
SOFTMAX = ROOT / "tests" / "runtime" / "fixture" / "digits" / "softmax"

# model -> (family, accuracy, parameters)
TRAINED = {
    "softmax": ("dense", 0.845, 7_850.0),
    "mlp-small": ("dense", 0.901, 235_146.0),
    "mlp-distilled": ("dense", 0.915, 235_146.0),
    "conv-small": ("conv", 0.9455, 87_050.0),
    "lenet5": ("hybrid", 0.917, 61_706.0),
}


def put(folder, model, family="dense", data_set="fashion-mnist", accuracy=0.9, recipe=None, **metrics):
    """A real export, whose manifest says something else."""
    goal = shutil.copytree(SOFTMAX, folder / data_set / model)
    manifest = read_manifest(goal)
    metadata = replace(
        manifest.metadata,
        model=model,
        family=family,
        data_set=data_set,
        test_accuracy=accuracy,
        recipe=_own(model) if recipe is None else recipe,
    )
    known = {"test_accuracy_low": accuracy - 0.005, "test_accuracy_high": accuracy + 0.005, **metrics}
    (goal / MANIFEST_FILE).write_text(replace(manifest, metadata=metadata, metrics=known).to_json(), encoding="utf-8")
    return goal


def _own(model):
    return next((known.recipe.to_json() for known in definitions() if known.name == model), {})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The gallery of some exports, which these tests only look at: to draw its charts takes longest."""
    folder = tmp_path_factory.mktemp("made") / "exports"
    for model, (family, accuracy, parameters) in TRAINED.items():
        recipe = {"teacher": "conv-small"} if model == "mlp-distilled" else None
        put(
            folder,
            model,
            family,
            accuracy=accuracy,
            recipe=recipe,
            parameters=parameters,
            multiply_accumulates=2 * parameters,
        )
    put(
        folder,
        "separable-small",
        "conv",
        accuracy=0.93,
        parameters=37_706.0,
        multiply_accumulates=4_200_000.0,
        receptive_field=22.0,
        test_accuracy_seed_1=0.93,
        test_accuracy_seed_3=0.932,
        test_robust_accuracy=0.71,
        test_uncalibrated_mass_calibration_error=0.0345,
        test_mass_calibration_error=0.0123,
        test_mass_calibration_error_low=0.0,
        test_mass_calibration_error_high=0.0222,
        test_coverage_95=0.949,
        test_mean_set_95=1.064,
        familiarity_accepted=0.951,
    )
    softmax = shutil.copytree(SOFTMAX, folder / "digits" / "softmax")  # with hardly a figure
    (softmax / "README.md").write_text("# softmax", encoding="utf-8")
    manifest = json.loads((softmax / MANIFEST_FILE).read_text(encoding="utf-8"))
    manifest["files"].append({"path": "README.md", "size": 9, "sha256": "0" * 64})
    (softmax / MANIFEST_FILE).write_text(json.dumps(manifest), encoding="utf-8")
    return gallery(folder)


@pytest.fixture(scope="module")
def page(made):
    return made.page.read_text(encoding="utf-8")


def cells(page: str, beginning: str) -> list[str]:
    """The cells of the only line of a table that begins so."""
    (line,) = (line for line in page.splitlines() if line.startswith(f"| {beginning}"))
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def test_every_export_has_a_line_with_its_metrics(page):
    assert cells(page, "conv | [separable-small]") == [
        "conv",
        "[separable-small](fashion-mnist/separable-small/)",
        "37,706",
        "4.2 M",
        "22×22",
        "93.00%",
        "92.50 to 93.50%",
        "(71.00%)",
        "4 kB",
    ]
    assert "\nzoo run separable-small --data fashion-mnist\n" in page
    for model in TRAINED:
        assert re.search(rf"\| \[{model}\]\(fashion-mnist/{model}/\)(\\\*)? \| {TRAINED[model][2]:,.0f}", page)
    assert page.index("## fashion-mnist") < page.index("## digits"), "those with published results first"


def test_an_export_that_was_calibrated_has_a_line_of_how_far_to_rely_on_it(page):
    link = "[separable-small](fashion-mnist/separable-small/)"
    assert cells(page, link) == [link, "3.45%", "1.23%", "0.00% to 2.22%", "94.90%", "1.06", "95.10%"]
    assert page.count("### Reliability") == 1, "not for digits, whose export has no such metrics"


def as_read(line: str) -> str:
    """A line of a table as it is shown: links and rules take no room."""
    return re.sub(r"\[(.*?)\]\(.*?\)", r"\1", line).replace("\\", "").replace(" | ", " ").strip("| ")


def test_a_line_of_a_table_fits_into_a_page():
    """GitHub's page is 840 pixels wide or more: about 85 characters beside the room between nine columns."""
    lines = (ROOT / "exports" / PAGE_FILE).read_text(encoding="utf-8").splitlines()
    exports = [line for line in lines if re.match(r"\| (dense|conv|hybrid) \| \[", line)]
    assert len(exports) > 10
    assert [line for line in exports if len(as_read(line)) > 85] == []


def test_a_command_that_holds_backticks_stays_in_its_block(tmp_path):
    name = "a ```\n# b"
    goal = put(tmp_path, "softmax", data_set="digits")
    manifest = read_manifest(goal)
    metadata = replace(manifest.metadata, data_set=name)
    (goal / MANIFEST_FILE).write_text(replace(manifest, metadata=metadata).to_json(), encoding="utf-8")
    page = gallery(tmp_path).page.read_text(encoding="utf-8")
    assert re.search(r"^(`{4,})sh\nzoo run softmax --data 'path/to/a ```\n# b'.*\n\1$", page, re.MULTILINE)


def test_a_name_leads_to_the_card(page):
    assert "[softmax](digits/softmax/README.md)" in page


def test_the_command_makes_the_same_training_again(tmp_path):
    def changed(model, **fields):
        return definition(model).recipe.with_values(fields)

    put(
        tmp_path,
        "mlp-small",
        data_set="digits",
        recipe=changed("mlp-small", epochs=3, seed=7, least_updates=0).to_json(),
    )
    put(tmp_path, "pets-net", data_set="my pets", recipe=Recipe().to_json())
    kept = changed("softmax", epochs=3)
    put(tmp_path, "softmax", data_set="my pets", recipe=kept.to_json())
    older = {name: value for name, value in definition("conv-tiny").recipe.to_json().items() if name != "optimizer"}
    put(tmp_path, "conv-tiny", data_set="digits", recipe=older)
    frozen = changed("lenet5", frozen=0.75).to_json()
    put(tmp_path, "lenet5", data_set="digits", recipe=frozen)
    goal = put(tmp_path, "lenet5", data_set="my pets", recipe=frozen)
    manifest = read_manifest(goal)
    metadata = replace(manifest.metadata, source={"name": "fashion-mnist/lenet5", "weights_sha256": "0" * 64})
    (goal / MANIFEST_FILE).write_text(replace(manifest, metadata=metadata).to_json(), encoding="utf-8")

    put(tmp_path, "mobilenet-v2", data_set="digits", recipe=definition("mobilenet-v2").recipe.to_json())

    page = gallery(tmp_path).page.read_text(encoding="utf-8")
    assert "\nzoo run mobilenet-v2 --data digits --from scratch\n" in page, "or it would start from others' weights"
    assert "\nzoo run mlp-small --data digits --set epochs=3 --set seed=7\n" in page
    assert "\nzoo run pets-net --data 'path/to/my pets'\n" in page
    assert kept.least_updates
    assert f"--set epochs=3 --set least_updates={kept.least_updates}\n" in page, "or 3 would be meant"
    assert "\nzoo run conv-tiny --data digits --set optimizer=adamw\n" in page, "there was no other then"
    assert "\nzoo run lenet5 --data digits\n" in page, "nothing is frozen without a source"
    assert "\nzoo run lenet5 --data 'path/to/my pets' --from fashion-mnist/lenet5 --set frozen=0.75\n" in page


def test_the_best_of_ours_stands_beside_the_published(page):
    assert cells(page, "conv, 100 k parameters")[1:9] == [
        "92.5% (2 conv)",
        "94.5%",
        "95.0%",
        "[conv-small](fashion-mnist/conv-small/)",
        "87,050",
        "94.55%",
        "+2.05",
        "yes",
    ]
    assert cells(page, "conv, 10 k parameters")[4:9] == ["none yet", "", "", "", "no"]
    assert cells(page, "hybrid, 100 k parameters")[8] == "no, 1.80 short"
    assert cells(page, "DenseNet-BC")[3:7] == ["[conv-small](fashion-mnist/conv-small/)", "87,050", "94.55%", "-0.85"]


def test_a_distilled_model_is_marked_and_does_not_hide_the_best_that_was_not(page):
    assert cells(page, "dense | [mlp-distilled]")[1] == r"[mlp-distilled](fashion-mnist/mlp-distilled/)\*"
    distilled, alone = cells(page, "dense, 1 M parameters |"), cells(page, "dense, 1 M parameters, not distilled")
    assert distilled[4].endswith(", distilled from conv-small")
    assert (distilled[6:9], alone[6:9]) == (
        ["91.50%", "+1.50", "yes"],
        ["90.10%", "+0.10, within the interval", "no, 0.90 short"],
    )


def test_each_data_set_has_a_chart_with_words(made, page):
    exports = made.page.parent
    assert made.charts == (exports / "fashion-mnist" / CHART_FILE, exports / "digits" / CHART_FILE)
    assert made.exports == 7
    for chart in made.charts:
        with Image.open(chart) as image:
            image.load()
            assert image.width > 1000
    words = re.findall(r"!\[(.+?)\]\((\S+)\)", page)
    assert [file for _, file in words] == ["fashion-mnist/accuracy.png", "digits/accuracy.png"]
    assert "dense from softmax 84.50% with 7,850 parameters to mlp-distilled 91.50%" in words[0][0]
    assert "of 1 model against" in words[1][0]


def test_same_manifests_same_bytes_and_nothing_but_manifests(made, tmp_path):
    exports, other = made.page.parent, tmp_path / "other"
    for manifest in exports.rglob(MANIFEST_FILE):
        copy = other / manifest.relative_to(exports)
        copy.parent.mkdir(parents=True)
        shutil.copy(manifest, copy)
    second = gallery(other)
    assert made.page.read_bytes() == second.page.read_bytes()
    for one, same in zip(made.charts, second.charts, strict=True):
        assert one.read_bytes() == same.read_bytes()
    assert {path.name for path in other.iterdir()} == {"fashion-mnist", "digits", PAGE_FILE}


def test_what_cannot_be_shown_leaves_the_old_page(made, tmp_path):
    exports = shutil.copytree(made.page.parent, tmp_path / "exports")
    page = exports / PAGE_FILE
    before = page.read_bytes()
    put(exports, "vit", family="attention")
    with pytest.raises(ExportError, match="of the family 'attention', expected one of dense, conv, hybrid"):
        gallery(exports)
    (exports / "fashion-mnist" / "vit" / MANIFEST_FILE).write_text("{", encoding="utf-8")
    with pytest.raises(ExportError, match=r"manifest\.json can't be read"):
        gallery(exports)
    assert page.read_bytes() == before


def test_no_export_is_nothing_to_show(tmp_path, capsys):
    assert main(["gallery", "--exports", str(tmp_path)]) == 1
    assert "no export is in" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_command_tells_what_it_wrote(tmp_path, capsys):
    put(tmp_path, "softmax", data_set="digits")
    assert main(["gallery", "--exports", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["page"] == str(tmp_path / PAGE_FILE)


def test_targets_name_published_results_and_more_parameters_ask_for_more():
    for data_set, targets in TARGETS.items():
        results = {result.name for result in PUBLISHED[data_set]}
        assert {target.published for target in targets} - {None} <= results
        for one, other in pairwise(targets):
            if one.family == other.family:
                assert one.parameters < other.parameters
                assert one.least < other.least
        assert all(target.least < target.stretch for target in targets)


def test_an_mlp_is_counted_by_its_layers():
    sizes = (784, 256, 128, 64, 10)
    counted = sum(inputs * outputs + outputs for inputs, outputs in pairwise(sizes))
    (mlp,) = (result for result in PUBLISHED["fashion-mnist"] if result.name == "MLP 256-128-64")
    assert mlp.parameters == counted


def committed(*arguments: str) -> str:
    """What git has staged: exports that a demo made beside them, or in their place, are not meant."""
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, encoding="utf-8", check=True).stdout


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="outside of a repository")
def test_the_page_in_git_is_the_one_that_its_manifests_give(tmp_path):
    files = committed("ls-files", "exports").splitlines()
    manifests = [file for file in files if re.fullmatch(rf"exports/[^/]+/[^/]+/{MANIFEST_FILE}", file)]
    if not manifests:
        pytest.skip("no export is in git yet")
    for manifest in manifests:
        copy = tmp_path / manifest
        copy.parent.mkdir(parents=True)
        copy.write_text(committed("show", f":{manifest}"), encoding="utf-8")
    made = gallery(tmp_path / "exports")
    assert committed("show", f":exports/{PAGE_FILE}") == made.page.read_text(encoding="utf-8"), "run `zoo gallery`"
    # The bytes of a chart may depend on a machine's fonts; its words, in the page, don't.
    assert {chart.relative_to(tmp_path).as_posix() for chart in made.charts} <= set(files)
