"""The command `zoo`: it parses, calls the function of the same name, and prints. Nothing else happens here.

Results go to standard output (as JSON with --json), progress to standard error. Exit codes: 0 done, 1 an error that one
sentence names, 2 a wrong command line, 130 interrupted. Each command imports what it needs when it runs, so that
`zoo predict` works where no TensorFlow is installed and `zoo list` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pipelines.cli.console import any_encoding, show_error
from pipelines.cli.interrupts import interrupts_noticed
from pipelines.cli.log import log_to_terminal
from pipelines.cli.parser import make_parser
from pipelines.core.support.watched import failing_at_once
from zoo.errors import MissingExtraError, ZooError, printable

# What TensorFlow logs at its start (instruction sets, absent CUDA) is nothing that a user of ours can act on.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

_TRAINING_PACKAGES = {
    "tensorflow",
    "keras",
    "tf2onnx",
    "onnx",
    "mlflow",
    "matplotlib",
    "sklearn",
    "psutil",
    "jinja2",
    "rich",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    with any_encoding():
        return failing_at_once(lambda: _run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    parser = make_parser()
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what can come next: this prints it, and exits
        from argcomplete import autocomplete

        autocomplete(parser)
    words = sys.argv[1:] if arguments is None else arguments
    try:
        with log_to_terminal(), interrupts_noticed():
            options = parser.parse_args(words)
            options.words = words
            _restore_exports(words)
            options.command.call(options)
    except ZooError as error:
        show_error(error)
        return 1
    except BrokenPipeError:  # `zoo list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _TRAINING_PACKAGES:
            raise
        show_error(MissingExtraError(package, "train"))
        return 1
    except OSError as error:
        show_error(f"{printable(str(error.filename or 'a file'))} can't be used ({error.strerror or error})")
        return 1
    except KeyboardInterrupt as interrupt:
        show_error(str(interrupt) or "interrupted")
        return 130
    return 0


def _restore_exports(arguments: Sequence[str]) -> None:
    """Put back what an interrupted command moved aside, among all exports and where an argument names one."""
    from pipelines.core.support.atomic import restore, restore_all

    roots = {os.environ.get("ZOO_EXPORTS") or "exports", *(each.rpartition("=")[2] for each in arguments)}
    for path in map(Path, roots):
        with suppress(OSError):  # what is no path, or can't be read: the command says so if it is one of its own
            restore(path)
            restore_all(path)
