"""What holds for every command that is registered, and that a new one is one file; options, old names, completion."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from recipes import moved_in

import zoo
from pipelines.cli import main
from pipelines.cli.markdown import commands_page
from pipelines.cli.parser import EXAMPLES, make_parser, report_old_option
from pipelines.cli.registry import GROUPS, Command, command, commands
from zoo.recipe import Recipe

ROOT = Path(__file__).parent.parent
DIGITS = ROOT / "tests" / "runtime" / "fixture" / "digits" / "softmax"
each_command = pytest.mark.parametrize("one", commands(), ids=lambda one: one.name)


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, **environment}
    )


# --- each command --------------------------------------------------------------------------------------------------


@each_command
def test_a_command_has_help_a_group_and_an_entry_in_the_documentation(one: Command, capsys):
    assert re.fullmatch(r"[a-z].*[^.]", one.summary)
    assert one.group in GROUPS
    with pytest.raises(SystemExit) as ended:
        main([*one.name.split(), "--help"])
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert " ".join((one.description or one.summary).split()) in shown
    page = commands_page()
    assert f"\n## zoo {one.name}\n" in page
    assert f"](#zoo-{one.name.replace(' ', '-')})" in page
    with pytest.raises(SystemExit):
        main(["--help"])
    assert re.search(rf"^  {one.name}  +{re.escape(one.summary.split()[0])}", capsys.readouterr().out, re.MULTILINE)


@each_command
def test_a_command_has_json(one: Command):
    assert one.json or one.name == "ui"  # which serves until it is interrupted, and has no result


@each_command
def test_each_argument_of_a_command_has_help(one: Command):
    for each in one.arguments:
        text = each.settings["help"]
        assert text == argparse.SUPPRESS or re.fullmatch(r"\S.*[^.]", text), each.names


def test_help_groups_the_commands_by_what_people_do_and_has_two_examples(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert [line.partition(":")[0] for line in shown.splitlines() if line.partition(":")[0] in GROUPS] == list(GROUPS)
    assert len(EXAMPLES) == 2
    for _, line in EXAMPLES:
        assert line in shown
        assert make_parser().parse_args(shlex.split(line)[1:]).command


def test_help_and_the_list_need_nothing_that_takes_long_to_import():
    code = (
        "import sys; from pipelines.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(*{'numpy', 'rich', 'tensorflow', 'mlflow', 'argcomplete', 'onnxruntime', 'optuna'} & set(sys.modules))"
    )
    assert run(sys.executable, "-c", code).stdout.splitlines()[-1] == ""


def test_the_documentation_has_each_field_of_a_recipe():
    page = commands_page()
    assert [name for name in Recipe().to_json() if f"\n| `{name}` | " not in page] == []


def test_make_docs_writes_it():
    done = run(sys.executable, "-m", "pipelines.cli.markdown", COLUMNS="40")
    assert (done.returncode, done.stdout) == (0, commands_page())


def written_commands() -> list[tuple[str, str]]:
    """Each `zoo ...` that a page for people names: the page, and the words."""
    pages = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")] + sorted((ROOT / "docs").glob("*.md"))
    found = []
    for page in pages:
        text = page.read_text(encoding="utf-8")
        spans = re.findall(r"(?<!`)`(zoo [a-z][^`]*)`", text, re.DOTALL) + re.findall(r"^(zoo [a-z].*)$", text, re.M)
        found += [(page.name, " ".join(span.split())) for span in spans]
    return found


def test_pages_name_commands_and_options_that_there_are():
    parsers = make_parser().commands
    assert len(written_commands()) > 50
    for page, span in written_commands():
        words = span.partition("#")[0].split()[1:]
        name = next((n for n in (" ".join(words[:2]), words[0].rstrip(",.")) if n in parsers), None)
        assert name, f"{page}: {span}"
        for option in (word.partition("=")[0].strip("[],.") for word in words if word.startswith("--")):
            assert option in parsers[name]._option_string_actions, f"{page}: {span}"


# --- a new one -----------------------------------------------------------------------------------------------------


def test_a_new_command_is_one_file(tmp_path: Path):
    folder = tmp_path / "commands"
    folder.mkdir()
    (folder / "classes.py").write_text(moved_in("my_command.py"), encoding="utf-8")
    program = tmp_path / "program.py"
    program.write_text(
        f"import sys; import pipelines.cli.commands as package; package.__path__.append({str(folder)!r})\n"
        "from pipelines.cli import main; sys.exit(main())",
        encoding="utf-8",
    )
    python = (sys.executable, str(program))
    assert json.loads(run(*python, "classes", str(DIGITS), "--json").stdout) == list("0123456789")
    assert re.search(r"^  classes +list the classes of an export", run(*python, "--help").stdout, re.MULTILINE)
    assert "did you mean classes" in run(*python, "clases", "x").stderr


def test_a_name_is_given_once_and_a_group_is_one_of_those():
    with pytest.raises(ValueError, match="two commands are called 'train'"):
        command("train", "train", group="train")(lambda _: None)
    with pytest.raises(ValueError, match="in group 'other': expected one of data, train"):
        command("another", "do something", group="other")(lambda _: None)


# --- options -------------------------------------------------------------------------------------------------------


def options() -> dict[str, dict[str, argparse.Action]]:
    """Option -> command -> what it is there."""
    found: dict[str, dict[str, argparse.Action]] = {}
    for name, parser in make_parser().commands.items():
        for action in parser._actions:
            for option in action.option_strings:
                if action.help != argparse.SUPPRESS:
                    found.setdefault(option, {})[name] = action
    return found


def meaning(action: argparse.Action) -> tuple[str, str, bool]:
    """What it is for, up to the notes of a command, what its value is called, and whether it has one.

    Where a command takes several, "NAME,…" is several of what "NAME" is.
    """
    text = re.sub(r" \(.*", "", action.help or "")
    return text, str(action.metavar or "").removesuffix(",…"), action.nargs == 0


@pytest.mark.parametrize("option", sorted(options()))
def test_an_option_means_the_same_in_each_command(option: str):
    assert len({meaning(action) for action in options()[option].values()}) == 1, options()[option]


def test_a_thing_has_one_option():
    """Two options with one help text would be two names for one thing."""
    seen: dict[tuple[str, str, bool], str] = {}
    for option, by_command in options().items():
        if option != "-h":
            assert seen.setdefault(meaning(next(iter(by_command.values()))), option) == option


@pytest.mark.parametrize(
    ("words", "name", "value", "now"),
    [
        (["compare", "digits", "--picture", "a.png"], "plot", Path("a.png"), "--plot"),
        (["compare", "digits", "--image=a.png"], "plot", Path("a.png"), "--plot"),
        (["compare", "digits", "--log", "abc"], "log_to", "abc", "--log-to"),
        (["demo", "digits/lenet5", "--out", "a.html"], "html", Path("a.html"), "--html"),
    ],
)
def test_an_option_is_taken_by_its_old_name_which_is_hidden_and_reported_once(words, name, value, now, caplog):
    report_old_option.cache_clear()
    parser = make_parser()
    for _ in range(2):
        assert getattr(parser.parse_args(words), name) == value
    old = words[2].partition("=")[0]
    assert caplog.messages == [f"{old} is called {now} now: the old name is deprecated"]
    assert not re.search(rf"{old}\b(?!-)", parser.commands[words[0]].format_help())


def test_describe_takes_the_size_and_the_channels_as_one_as_it_did(capsys):
    report_old_option.cache_clear()
    assert main(["describe", "softmax", "--input", "8x8x3", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["input"] == [8, 8, 3]
    assert err == "zoo: warning: --input HxWxC is called --size HxW --channels C now: the old name is deprecated\n"


def test_after_two_dashes_a_name_is_no_option():
    parsed = make_parser().parse_args(["predict", "digits/lenet5", "--top", "1", "--", "--picture"])
    assert parsed.paths == [Path("--picture")]


# --- what is mistyped ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["trian"], "zoo: no command is called 'trian': did you mean train?"),
        (["data", "chek"], "zoo data: no command is called 'chek': did you mean check?"),
        (
            ["run", "softmax", "--dta", "digits"],
            "zoo run: no option is called '--dta': did you mean --data or --all or --set?",
        ),
        (["compare", "a", "--htm1=x"], "zoo compare: no option is called '--htm1': did you mean --html?"),
        (
            ["train", "softmax", "--set", "epoch=3"],
            "zoo train: argument --set: no recipe field is called 'epoch': did you mean epochs?",
        ),
        (
            ["train", "softmax", "--set", "epochs=0"],
            "zoo train: argument --set: epochs must be 1 or more, received 0; `zoo train --help` shows what it takes",
        ),
    ],
)
def test_what_is_mistyped_gets_the_nearest_names_in_one_sentence(words, sentence, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert capsys.readouterr() == ("", f"{sentence}\n")


def test_the_beginning_of_an_option_will_do():
    assert make_parser().parse_args(["gc", "--day", "3"]).days == 3


# --- version, recipe -----------------------------------------------------------------------------------------------


def test_the_version_is_that_of_the_package_and_costs_an_import_nothing(capsys):
    assert zoo.__version__ == version("classifier-zoo")
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"zoo {zoo.__version__}\n"
    done = run(sys.executable, "-c", "import sys, zoo; print('importlib.metadata' in sys.modules)")
    assert done.stdout == "False\n"


def test_a_recipe_can_be_discovered(capsys):
    assert main(["describe", "lenet5", "--recipe", "--json"]) == 0
    found = {field["name"]: field for field in json.loads(capsys.readouterr().out)}
    assert list(found) == list(Recipe().to_json())
    assert found["optimizer"]["allowed"] == "one of adamw, muon"
    assert main(["describe", "lenet5", "--recipe"]) == 0
    shown = capsys.readouterr().out
    for name in found:
        assert re.search(rf"^{name} ", shown, re.MULTILINE)


# --- completion ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def on_path(tmp_path_factory) -> str:
    """A PATH on which `zoo` is this checkout's."""
    folder = tmp_path_factory.mktemp("bin")
    program = folder / "zoo"
    program.write_text(f"#!{sys.executable}\nimport sys\nfrom pipelines.cli import main\nsys.exit(main())\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])


def completed(line: str, path: str) -> set[str]:
    """What bash offers after a line, once it was set up as docs/install.md says."""
    words = " ".join(map(shlex.quote, line.split(" ")))
    script = f"""
        eval "$(register-python-argcomplete zoo)"
        COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)} COMP_TYPE=9 COMP_WORDS=({words})
        COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
        _python_argcomplete zoo
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = run("bash", "-c", script, PATH=path, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    return {word.strip() for word in done.stdout.splitlines() if word.strip()}


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("zoo tra", {"train"}),
        ("zoo data c", {"check"}),
        ("zoo train lene", {"lenet5", "lenet5-modern"}),
        ("zoo train lenet5 --data digi", {"digits"}),
        ("zoo train lenet5 --resi", {"--resize"}),
        ("zoo train lenet5 --resize c", {"crop"}),
        ("zoo train lenet5 --set epo", {"epochs="}),
        ("zoo predict digits/conv-t", {"digits/conv-tiny"}),
        ("zoo compare digits --pict", set()),
    ],
)
def test_bash_completes_commands_options_and_names(line: str, offered: set[str], on_path: str):
    assert completed(line, on_path) == offered
