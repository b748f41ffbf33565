"""The parser of all commands: help by what people do, and the nearest names for one that is mistyped."""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NoReturn

from pipelines.cli.registry import GROUPS, Argument, Command, commands
from zoo.errors import printable, unknown

DESCRIPTION = "Train dense, conv, and hybrid image classifiers, log them to MLflow, and export them to ONNX."
EXAMPLES = (
    ("train, export, and compare three models", "zoo run mlp-small conv-small lenet5 --data digits"),
    ("classify an image", "zoo predict digits/lenet5 three.png"),
)

logger = logging.getLogger("zoo.cli")


def make_parser() -> Parser:
    """The parser of `zoo`. What it parses has the `Command` to call as `command`."""
    every = commands()
    parser = Parser(
        prog="zoo",
        usage="zoo COMMAND ...",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"{DESCRIPTION}\n\n{_listing(every, by_group=True)}",
        epilog="\n".join(["examples:", *(f"  {line:51} # {what}" for what, line in EXAMPLES), "", _MORE]),
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    below: dict[str, Any] = {"": _add_commands(parser)}
    for each in every:
        *parents, name = each.name.split()
        parent = " ".join(parents)
        if parent not in below:
            together = [other for other in every if other.name.startswith(f"{parent} ")]
            text = f"commands:\n{_listing(together)}"
            raw = argparse.RawDescriptionHelpFormatter
            below[parent] = _add_commands(below[""].add_parser(parent, description=text, formatter_class=raw))
        parser.commands[each.name] = below[parent].add_parser(name, description=each.description or each.summary)
        _add_arguments(parser.commands[each.name], each)
    return parser


_MORE = "`zoo COMMAND --help` shows the options of a command."


def _add_commands(parser: argparse.ArgumentParser) -> Any:
    return parser.add_subparsers(prog=parser.prog, metavar="COMMAND", required=True, help=argparse.SUPPRESS)


def _add_arguments(parser: Parser, command: Command) -> None:
    groups: dict[str, Any] = {}
    for each in command.arguments:
        where: Any = parser
        if each.one_of:
            where = groups.setdefault(each.one_of, None) or parser.add_mutually_exclusive_group(required=True)
            groups[each.one_of] = where
        _add(where, each)
        parser.formerly.update(dict.fromkeys(each.formerly, each.names[0]))
    if command.json:
        parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(command=command, error=parser.error)


def _add(where: Any, each: Argument) -> None:
    action = where.add_argument(*each.names, **each.settings)
    if (completer := each.completer) is not None:
        action.completer = lambda prefix, **_: completer(prefix)


def _listing(several: Iterable[Command], *, by_group: bool = False) -> str:
    several = list(several)
    indent = 4 + max(len(each.name) for each in several)
    width = max(shutil.get_terminal_size().columns, 60)
    lines: list[str] = []
    group = ""
    for each in several:
        if by_group and each.group != group:
            group = each.group
            lines += ["", f"{group}: {GROUPS[group]}"] if lines else [f"{group}: {GROUPS[group]}"]
        first = f"  {each.name}".ljust(indent)
        lines += textwrap.wrap(each.summary, width, initial_indent=first, subsequent_indent=" " * indent)
    return "\n".join(lines)


class Parser(argparse.ArgumentParser):
    """One that knows options by their old names, and says which name comes nearest to a mistyped one.

    formerly: the name that an option had before -> its name. commands: of the whole, the parser of each by name.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.formerly: dict[str, str] = {}
        self.commands: dict[str, Parser] = {}

    def parse_known_args(  # type: ignore[override]  # the many overloads of typeshed
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """As argparse does, which asks each command's own parser in turn."""
        words = list(sys.argv[1:] if args is None else args)
        choices = next(
            (each.choices for each in self._actions if isinstance(each, argparse._SubParsersAction)),
            None,
        )
        if choices is not None:
            self._check_command(words, choices)
        else:
            words = self._check_options(words)
        return super().parse_known_args(words, namespace)

    def _check_command(self, words: Sequence[str], choices: Mapping[str, Any]) -> None:
        for word in words:
            if not word.startswith("-"):
                if word not in choices:
                    self._refuse(unknown("command", word, choices))
                return
            self._check_option(word)

    def _check_options(self, words: list[str]) -> list[str]:
        for place, word in enumerate(words):
            if word == "--":
                break
            name, equals, value = word.partition("=")
            if name in self.formerly:
                report_old_option(name, self.formerly[name])
                words[place] = self.formerly[name] + equals + value
            else:
                self._check_option(name)
        return words

    def _check_option(self, name: str) -> None:
        known = [option for option in self._option_string_actions if option.startswith("--")]
        if name.startswith("--") and not any(option.startswith(name) for option in known):
            self._refuse(unknown("option", name, known))

    def error(self, message: str) -> NoReturn:
        """One sentence, and exit code 2."""
        self._refuse(message if message.endswith("?") else f"{message}; `{self.prog} --help` shows what it takes")

    def _refuse(self, sentence: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {printable(sentence)}\n")


@cache
def report_old_option(old: str, new: str) -> None:
    """Once in a process."""
    logger.warning("%s is called %s now: the old name is deprecated", old, new)


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        import zoo  # which reads it from a file when it is asked for

        print(f"zoo {zoo.__version__}")
        parser.exit()
