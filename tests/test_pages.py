"""What people read first: README.md is short, its code and commands run, its table is the exports', no link is dead.

Whoever changes the shipped exports runs `PYTHONPATH=. python tests/test_pages.py`, which updates the table.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import zoo
from pipelines.cli.markdown import commands_page
from pipelines.cli.parser import make_parser

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = (
    README,
    *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "examples").glob("**/README.md")),
    *(ROOT / name / "README.md" for name in ("exports", "mlruns")),
)
PAGES = tuple(page for page in PAGES if page.name != "commands.md" and "node_modules" not in page.parts)
TABLE_HEAD = (
    "| family | model | parameters | test accuracy | 95% interval | size |\n| --- | --- | ---: | ---: | ---: | ---: |\n"
)
name_of = {page: page.relative_to(ROOT).as_posix() for page in PAGES}
each_page = pytest.mark.parametrize("page", PAGES, ids=name_of.get)


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[list[str]]:
    """Each line of a shell block, split into words, without its comment."""
    lines = "".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


# --- README.md -----------------------------------------------------------------------------------------------------


def test_the_readme_is_short_and_begins_with_a_picture():
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    assert lines[2].startswith("![")


def results() -> str:
    """The smallest and the most accurate export of each family on Fashion-MNIST, by their manifests."""
    from pipelines.publishing.catalog import read_shipped
    from pipelines.publishing.gallery import FAMILIES

    shipped = [export for export in read_shipped(ROOT / "exports") if export.data_set == "fashion-mnist"]
    shipped.sort(key=lambda export: (FAMILIES.index(export.family), export.parameters or 0))
    rows = []
    for family, members in groupby(shipped, key=lambda export: export.family):
        found = list(members)
        for export in (found[0], max(found, key=lambda export: export.accuracy or 0)):
            link = f"[`{export.model}`](exports/fashion-mnist/{export.model}/README.md)"
            interval = f"{export.low:.2%} to {export.high:.2%}"
            cells = (family, link, f"{export.parameters:,}", f"{export.accuracy:.2%}", interval)
            rows.append(f"| {' | '.join(cells)} | {export.size / 1000:,.0f} kB |\n")
    return "".join(rows)


def test_the_readme_has_the_results_of_the_shipped_exports():
    text = README.read_text(encoding="utf-8")
    assert results().count("\n") == 6
    assert TABLE_HEAD + results() + "\n" in text, "run `PYTHONPATH=. python tests/test_pages.py`"


@pytest.mark.parametrize("page", [README, ROOT / "docs" / "apps.md"], ids=name_of.get)
def test_the_first_python_example_runs(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(blocks(page, "python")[0], {})
    assert printed.getvalue().startswith("3 ")


@pytest.mark.slow
@pytest.mark.timeout(1800)  # it takes a minute on two cores that do nothing else
def test_each_command_of_the_readme_runs(tmp_path):
    """Slow: it trains three models. In a folder with `photos` of small gray images; tests/test_ui.py has `zoo ui`."""
    shutil.copytree(ROOT / "exports", tmp_path / "exports", ignore=shutil.ignore_patterns("study"))
    randomness = np.random.default_rng(0)
    for number in range(120):
        label = ("dark", "light")[number % 2]
        folder = tmp_path / "photos" / label
        folder.mkdir(parents=True, exist_ok=True)
        pixels = randomness.integers(0, 128, (8, 8), np.uint8) + 127 * (number % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    run = [words[1:] for words in commands(README) if words[0] == "zoo" and words[1] != "ui"]
    assert len(run) >= 7
    for words in run:
        done = subprocess.run(
            [sys.executable, "-m", "pipelines.cli", *words],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (words, done.stdout, done.stderr)
    assert {"report.html", "comparison.html", "demo.html"} <= {path.name for path in tmp_path.iterdir()}


# --- all pages -----------------------------------------------------------------------------------------------------


@each_page
def test_the_parser_takes_each_command(page):
    for words in commands(page):
        if words[0] == "zoo":
            assert make_parser().parse_args(words[1:]).command, words
        if words[0] == "make":
            targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
            assert words[1] in targets, words


def anchors(page: Path) -> set[str]:
    """Of the headings of a page, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", re.sub(r"\]\(.*?\)", "", heading).lower()).replace(" ", "-") for heading in headings
    }


@each_page
def test_no_link_is_dead(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("https://", "http://")):
            path, _, anchor = target.partition("#")
            found = (page.parent / path).resolve() if path else page
            assert found.exists(), target
            assert not anchor or anchor in anchors(found), target


def test_a_citation_names_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (cited["version"], cited["license"]) == (project["version"], project["license"])
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()


def test_the_index_has_each_page_of_docs():
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"\]\(([a-z-]+\.md)\)", index)
    # api.md is for the site alone: without it, its lines are names of modules.
    assert sorted([*listed, "README.md", "api.md"]) == [page.name for page in PAGES if page.parent.name == "docs"]


# --- plain English -------------------------------------------------------------------------------------------------

# What no reader should meet, as whole words: archaic, literal, or not the field's word. Add to it; nothing leaves it.
NO_MORE = (
    "whereof", "thereof", "anew", "pictures?", "taken for", "by heart", "go(es|ing)? on with", "goes with",
    "the roster", "(tell|tells|told) apart", "surest", "in silence", "contestants?", "in turns",
    "so many (pairs|cases)",
    "(?<!there )is no (known|regular|folder|name|table|text|address)", "no whole", "lies? (beside|elsewhere)",
    "where there is a network", "sum(med)? them up", "behind (the|its) end", "standard operators alone",
    "beside (it|them|the|that|those)", "is there and is", "as it was begun", "comes? to {", "where it has",
    "the likeliest", "of other things", "how familiar an image is",
    "whose like", "never saw", "chose nothing", "of the same origin", "who hands", "as they go", "what came of",
    "stands? beside", "answered for", "held by", "be correct on", "comes? true", "among the first", "learned from all",
    "it is told", "in so many", "aren't ours", "handed over", "like(ly|liest) first", "learned from, that",
    "speaks? (for|against)", "gone on with", "by its like", "good to learn from", "taken in turns", "costs? its lead",
    "how far to rely on them", "what we aim at", "commonest", "all the same",
    "the whole way", "c[ao]mes? to its end", "never begun", "the test images are asked", "asked of the",
)  # fmt: skip
DEMO = ROOT / "examples" / "web" / "src" / "page.html"


def unwanted(text: str) -> list[str]:
    text = " ".join(text.split())
    pattern = re.compile(rf"(?<![\w-])({'|'.join(NO_MORE)})(?![\w-])", re.IGNORECASE)
    return [text[max(0, found.start() - 40) : found.end() + 40] for found in pattern.finditer(text)]


@each_page
def test_a_page_is_in_plain_english(page):
    assert unwanted(page.read_text(encoding="utf-8")) == []


def test_what_is_generated_is_in_plain_english():
    """Shipped cards, the gallery, the study's report with its claims, and the texts of the pages of commands."""
    cards = [*(ROOT / "exports").glob("**/README.md"), *(ROOT / "pipelines").glob("**/*.j2")]
    assert len(cards) > 25
    found = {card: unwanted(card.read_text(encoding="utf-8")) for card in [*cards, DEMO]}
    assert {card: words for card, words in found.items() if words} == {}


def test_the_public_documentation_is_in_plain_english():
    texts = {name: inspect.getdoc(getattr(zoo, name)) or "" for name in zoo.__all__ if name != "__version__"}
    for name in ("Classifier", "Explanation", "Prediction"):
        members = vars(getattr(zoo, name)).items()
        texts |= {f"{name}.{each}": inspect.getdoc(member) or "" for each, member in members if each[0] != "_"}
    assert len(texts) > 30
    assert {name: found for name, text in texts.items() if (found := unwanted(text))} == {}


def test_the_help_of_commands_is_in_plain_english():
    assert unwanted(commands_page().partition("## Fields of a recipe")[0]) == []


def said(tree: ast.AST) -> list[str]:
    """The texts of errors that are raised and of what is logged; a value in braces."""
    calls = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)]
    calls += [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("logger.warning", "logger.info", "options.error")
    ]
    return [
        "".join(part.value if isinstance(part, ast.Constant) else "{" for part in text.values)
        if isinstance(text, ast.JoinedStr)
        else str(text.value)
        for call in calls
        for text in call.args[:1]
        if isinstance(text, (ast.JoinedStr, ast.Constant))
    ]


def test_errors_and_logs_are_in_plain_english():
    texts = []
    for package in ("zoo", "pipelines"):
        for path in sorted((ROOT / package).rglob("*.py")):
            texts += said(ast.parse(path.read_text(encoding="utf-8"))) if path.name != "code.py" else []
    assert len(texts) > 400
    assert {text: found for text in texts if (found := unwanted(text))} == {}


if __name__ == "__main__":
    table = re.compile(re.escape(TABLE_HEAD) + r"(\|.*\n)*")
    README.write_text(table.sub(lambda _: TABLE_HEAD + results(), README.read_text(encoding="utf-8")), encoding="utf-8")
