"""What the loggers below `zoo` report, as the command shows it on standard error: a bold line a step."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from zoo.errors import printable


@contextmanager
def log_to_terminal() -> Iterator[None]:
    """Show steps and warnings until the block ends."""
    zoo, handler = logging.getLogger("zoo"), _Terminal()
    level, propagate = zoo.level, zoo.propagate
    zoo.addHandler(handler)
    zoo.setLevel(logging.INFO)
    zoo.propagate = False  # TensorFlow gives the root logger a handler of its own
    try:
        yield
    finally:
        zoo.removeHandler(handler)
        zoo.setLevel(level)
        zoo.propagate = propagate


class _Terminal(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        line = printable(record.getMessage())
        if record.levelno > logging.INFO:
            print(f"zoo: warning: {line}", file=sys.stderr, flush=True)
        elif sys.stderr.isatty():
            from rich.console import Console
            from rich.text import Text

            Console(stderr=True, highlight=False).print(Text(line, style="bold"), soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)
