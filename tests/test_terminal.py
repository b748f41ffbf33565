"""What reaches a terminal: any text, in any encoding, on its line, with a bound; nothing that a terminal would obey."""

from __future__ import annotations

import ast
import io
import json
import logging
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from pipelines.cli import console, main
from zoo.contract import CARD_FILE, MANIFEST_FILE, MODEL_FILE, describe_file, read_manifest
from zoo.errors import LONGEST, ExportError, VerificationError, ZooError, printable

ROOT = Path(__file__).parents[1]
DIGITS = ROOT / "exports" / "digits" / "lenet5"
SAMPLE = DIGITS / "samples" / "3.png"

MODELS = ["family", "model", "data set", "parameters", "multiply-acc.", "receptive field", "test accuracy"]
MODELS += ["over seeds", "in int8", "ImageNet", "description"]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """The lines that a command prints in a terminal of some width."""

    def printed(width: int, *command: str) -> list[str]:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("TERM", "xterm")
        assert main(list(command)) == 0
        return [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in capsys.readouterr().out.splitlines()]

    return printed


# Where printing is done, and what else prints: JSON between two processes, and documentation that is generated.
PRINTERS = {
    "pipelines/cli/console.py",
    "pipelines/cli/log.py",
    "pipelines/cli/parser.py",
    "pipelines/cli/markdown.py",
    "pipelines/core/support/progress.py",
    "pipelines/inference/worker.py",
    "pipelines/maintenance/ui.py",
}


def test_only_few_files_print() -> None:
    printers = set()
    for file in [*(ROOT / "pipelines").rglob("*.py"), *(ROOT / "zoo").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            name = node.func if isinstance(node, ast.Call) else None
            prints = isinstance(name, ast.Name) and name.id == "print"
            writes = isinstance(name, ast.Attribute) and name.attr == "write" and "std" in ast.unparse(name.value)
            if prints or writes:
                printers.add(file.relative_to(ROOT).as_posix())
    assert printers == PRINTERS


# --- encodings -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export whose labels and names no small encoding has, and some of which no line should hold."""
    folder = shutil.copytree(DIGITS, tmp_path_factory.mktemp("odd") / "naïve" / "日本")
    manifest = read_manifest(folder)
    labels = ("line\nbreak", "tab\tand\x0bmore", "→ × ±", "日本語", "ß" * 900, *manifest.metadata.labels[5:])
    metadata = replace(manifest.metadata, labels=labels, data_set="naïve", model="日本")
    model = onnx.load(folder / MODEL_FILE)
    onnx.helper.set_model_props(model, metadata.to_properties())
    onnx.save(model, folder / MODEL_FILE)
    files = tuple(describe_file(folder, folder / file.path) for file in manifest.files if file.path != CARD_FILE)
    text = replace(manifest, metadata=metadata, files=files).to_json()
    (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")
    return folder


COMMANDS = {
    "list": ["list"],
    "list as JSON": ["list", "--json"],
    "list exports": ["list", "--exports", "PARENT"],
    "describe": ["describe", "lenet5"],
    "recipe": ["describe", "lenet5", "--recipe"],
    "predict": ["predict", "EXPORT", str(SAMPLE), "--top", "10"],
    "predict as JSON": ["predict", "EXPORT", str(SAMPLE), "--json"],
    "placement": ["placement", "EXPORT"],
    "compare": ["compare", "EXPORT"],
    "no export": ["predict", "EXPORT/日本\x1b[31m", str(SAMPLE)],
    "no image": ["predict", "EXPORT", "日本\x1b[31m\nzoo: fine.png"],
    "no option": ["predict", "--日本\x1b[31m"],
    "claims": ["study", "--list"],
    "help": ["predict", "--help"],
}


@pytest.mark.parametrize("encoding", ["ascii", "iso-8859-1", "cp1252", "utf-8"])
@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS.keys())
def test_each_command_prints_in_any_encoding(
    odd: Path, words: list[str], encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    words = [word.replace("EXPORT", str(odd)).replace("PARENT", str(odd.parents[1])) for word in words]
    try:
        code = main(words)
    except SystemExit as ended:
        code = ended.code
    for stream in streams:
        stream.flush()
        assert stream.errors == "strict"
    out, err = (stream.buffer.getvalue().decode(encoding) for stream in streams)
    assert code in (0, 1, 2)
    assert out or err
    assert "Traceback" not in err
    assert all(line.isprintable() for line in (out + err).split("\n"))
    if "--json" in words:
        json.loads(out)
    if words[0] == "predict" and code == 0 and "--help" not in words and "--json" not in words:
        assert len(out.splitlines()) == 1
        assert "line\\nbreak" in out


# --- messages --------------------------------------------------------------------------------------------------------


def test_a_message_has_a_bound_and_keeps_its_end() -> None:
    told = str(ExportError("a" * 2_600_000 + "\x1b: export the model again"))
    assert len(told) <= LONGEST
    assert told.startswith("aaa")
    assert told.endswith("\\x1b: export the model again")


def test_sentences_of_one_error_keep_their_lines_and_no_others() -> None:
    told = str(VerificationError("one\nzoo: fine", "two"))
    assert told == "one\\nzoo: fine\ntwo"


@pytest.mark.parametrize("letter", ["\n", "\r", "\x1b", "\x07", "\x85", "\u2028", "\u202e", "\udcff", "\x00"])
def test_what_a_terminal_obeys_is_shown_as_an_escape(letter: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert printable(f"a{letter}b").isprintable()
    assert str(ZooError(f"a{letter}b")).isprintable()
    assert main(["predict", f"no{letter}where", "x.png"]) == 1
    (line,) = capsys.readouterr().err.split("\n")[:-1]
    assert line.isprintable()


def test_steps_and_warnings_are_shown_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    from pipelines.cli.log import log_to_terminal

    with log_to_terminal():
        logging.getLogger("zoo.test").warning("a\x1b[31m\n%s", "b" * 10_000)
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err[:-1].isprintable()
    assert len(err) < LONGEST + 50


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (80, ["model", "data set", "parameters", "test accuracy", "ImageNet"]),
        (100, ["family", "model", "data set", "parameters", "test accuracy", "ImageNet"]),
        (130, ["family", "model", "data set", "parameters", "test accuracy", "in int8", "ImageNet", "description"]),
        (170, MODELS),
    ],
)
def test_models_fit_into_a_terminal(width: int, columns: list[str], terminal: Callable[..., list[str]]) -> None:
    lines = terminal(width, "list", "--exports", str(ROOT / "exports"))
    assert max(map(len, lines)) <= width
    assert re.split(r"  +", lines[0].strip()) == columns
    caption = " ".join(lines[-3:])
    assert all((name in caption) == (name not in columns) for name in MODELS if name not in ("model", "data set"))
    assert ("--json has all" in caption) == (columns != MODELS)


@pytest.mark.parametrize(("width", "reference"), [(80, False), (130, True)])
def test_known_data_sets_fit_into_a_terminal(width: int, reference: bool, terminal: Callable[..., list[str]]) -> None:
    lines = terminal(width, "data", "list")
    assert max(map(len, lines)) <= width
    assert (
        re.split(r"  +", lines[0].strip())
        == ["data set", "description", "download", "license"] + ["reference"] * reference
    )
    assert ("left out" in " ".join(lines[-2:])) == (not reference)


def test_where_nobody_looks_no_column_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--exports", str(ROOT / "exports")]) == 0
    assert re.split(r"  +", capsys.readouterr().out.splitlines()[0].strip()) == MODELS


@pytest.mark.parametrize("readable", [0, 24])
@pytest.mark.parametrize(
    "cells",
    [
        ("a", ">1"),
        ("wide, with words", "22"),
        ("~a text with several words in it", "|pneumonoultramicroscopic x"),
        ("日本語 字", ""),
    ],
    ids=["short", "words", "cut and folded", "wide letters"],
)
def test_a_table_needs_no_more_letters_than_are_counted_without_rich(cells: tuple[str, ...], readable: int) -> None:
    """Rich is asked where they are more than a terminal has: fewer of them would let it leave out a column."""
    from rich.console import Console
    from rich.measure import Measurement

    for count in range(1, len(cells) + 1):
        table = console.Table(*(cell or "|" for cell in cells[:count]))
        table.add(*(cell[::-1] for cell in cells[:count]))
        drawn, counted = console._drawn(table, readable)
        wide = Console(width=10_000)
        needed = Measurement.get(wide, wide.options, drawn).minimum
        assert needed <= counted <= needed + 2 * count
