"""The registry of commands: a function becomes one by `@command`, with its help and its arguments.

A command is all in one place: its arguments, its call and its table. A new one is a new file in commands/, which is
found by itself; help, documentation, completion and tests take it from here.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from zoo.discovery import import_modules

# What people do, in the order in which `zoo --help` lists it.
GROUPS: Mapping[str, str] = {
    "data": "look at data and models",
    "train": "train and evaluate",
    "export": "export to ONNX",
    "use": "use an export",
    "track": "compare, promote, and clean up",
    "study": "test claims about dense and conv layers",
}

Completer = Callable[[str], Iterable[str]]  # the beginning of a word -> words


@dataclass(frozen=True)
class Argument:
    """An argument of a command, as `argparse` takes it.

    formerly: options that were called so before; they are taken, and reported as deprecated. completer: what a shell
    offers for its value. one_of: names a set of arguments of which one is required and excludes the others.
    """

    names: tuple[str, ...]
    settings: Mapping[str, Any]
    formerly: tuple[str, ...] = ()
    completer: Completer | None = None
    one_of: str | None = None

    def but(self, **changes: Any) -> Argument:
        """The same, otherwise set: what is optional here may be required there."""
        own = {name: changes.pop(name) for name in ("names", "formerly", "completer", "one_of") if name in changes}
        return replace(self, settings={**self.settings, **changes}, **own)

    def noted(self, note: str, **changes: Any) -> Argument:
        """The same, with a note in parentheses behind its help."""
        return self.but(help=f"{self.settings['help']} ({note})", **changes)


def argument(
    *names: str,
    formerly: Iterable[str] = (),
    completer: Completer | None = None,
    one_of: str | None = None,
    **settings: Any,
) -> Argument:
    """An argument. names, settings: as `argparse.ArgumentParser.add_argument` takes them."""
    return Argument(names, settings, tuple(formerly), completer, one_of)


@dataclass(frozen=True)
class Command:
    """A command. name: with a space in it where it is one of several below a word, as `data check`."""

    name: str
    summary: str
    group: str
    arguments: tuple[Argument, ...]
    call: Callable[[argparse.Namespace], None] = field(repr=False)
    description: str = ""
    json: bool = True


_commands: dict[str, Command] = {}


def command(
    name: str, summary: str, *arguments: Argument, group: str, description: str = "", json: bool = True
) -> Callable[[Callable[[argparse.Namespace], None]], Callable[[argparse.Namespace], None]]:
    """Register a function that is given the parsed options, calls what does the work, and shows the result.

    summary: a line for lists. group: one of GROUPS. description: for the help of the command alone, where a line
    won't do. json: whether it has --json, which any command that has a result has.
    Raises ValueError for a name that is taken, and for another group.
    """

    def register(call: Callable[[argparse.Namespace], None]) -> Callable[[argparse.Namespace], None]:
        if name in _commands:
            raise ValueError(f"two commands are called {name!r}")
        if group not in GROUPS:
            raise ValueError(f"{name} is in group {group!r}: expected one of {', '.join(GROUPS)}")
        _commands[name] = Command(name, summary, group, arguments, call, description, json)
        return call

    return register


def commands() -> tuple[Command, ...]:
    """All commands, by group; within one by file, and in the order of the file, whichever was imported first."""
    import_modules("pipelines.cli.commands")
    order = list(GROUPS)
    return tuple(sorted(_commands.values(), key=lambda each: (order.index(each.group), each.call.__module__)))
