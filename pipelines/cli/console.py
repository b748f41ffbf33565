"""How results look in a terminal: tables and lines on standard output. Rich is imported where it has something to do.

All text that a command prints goes through here or through `pipelines.cli.log`, and there through `printable`.
"""

from __future__ import annotations

import codecs
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipelines.plotting.palette import FAMILY_COLORS
from zoo.errors import printable

KINDS = ">~|"  # of columns, by the first letter of their names
READABLE = 24  # letters
BETWEEN = 2  # blanks around what is in a column


@dataclass(frozen=True)
class Styled:
    """Text in a style of Rich."""

    text: str
    style: str


class Table:
    """Rows of text. Names of columns of numbers begin with '>', of those that may be cut with '~', or folded with '|'.

    Whatever a cell, the title or a line of the caption holds is shown as text: no markup, and nothing that a terminal
    would obey. footer: a row of totals. dispensable: columns that are left out where a terminal is too narrow for all,
    in this order.
    """

    def __init__(self, *columns: str) -> None:
        self.columns = columns
        self.rows: list[tuple[str | Styled, ...]] = []
        self.title = ""
        self.caption: list[str] = []
        self.footer: tuple[str, ...] = ()
        self.dispensable: tuple[str, ...] = ()

    def add(self, *cells: str | Styled) -> None:
        """Add a row, which may be shorter than the table is wide."""
        self.rows.append(cells)

    def without(self, *names: str) -> Table:
        """The same without some columns, which the caption says."""
        kept = [k for k, column in enumerate(self.columns) if column.lstrip(KINDS) not in names]
        found = Table(*(self.columns[k] for k in kept))
        found.rows = [tuple(row[k] for k in kept if k < len(row)) for row in self.rows]
        found.footer = tuple(self.footer[k] for k in kept) if self.footer else ()
        found.title = self.title
        left = [column for column in (each.lstrip(KINDS) for each in self.columns) if column in names]
        said = [line for line in self.caption if line.partition(": ")[0] not in left]
        found.caption = [*said, f"left out in a terminal as narrow as this: {', '.join(left)}; --json has all"]
        return found


def show(result: Any, as_json: bool, table: Callable[[Any], Table | str]) -> None:
    """Print a result, as JSON, or as the table or the text that the function makes of it."""
    if as_json:
        show_json(result)
        return
    shown = table(result)
    if isinstance(shown, Table):
        show_table(shown)
    else:
        show_lines(shown.split("\n"))


def show_json(result: Any) -> None:
    """Print a result as one JSON document."""
    from pipelines.core.support.to_json import to_json

    text = to_json(result)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = to_json(result, only_ascii=True)
    print(text)


def show_lines(lines: Iterable[str], style: str = "") -> None:
    """Print lines of text, of whatever length. Rich is needed for a style alone."""
    for line in lines:
        if style:
            from rich.text import Text

            _console().print(Text(printable(line, None), style=style), soft_wrap=True)
        else:
            print(printable(line, None))


def show_error(sentences: object) -> None:
    """Print what went wrong on standard error; of several sentences, each on a line."""
    print("zoo: " + "\n".join(map(printable, str(sentences).split("\n"))), file=sys.stderr, flush=True)


@contextmanager
def any_encoding() -> Iterator[None]:
    """Let both streams take any text until the block ends: what their encoding lacks is written in ASCII."""
    streams = [stream for stream in (sys.stdout, sys.stderr) if hasattr(stream, "reconfigure")]
    before = [stream.errors for stream in streams]
    for stream in streams:
        stream.reconfigure(errors=_LOOKALIKE)
    try:
        yield
    finally:
        for stream, errors in zip(streams, before, strict=True):
            stream.reconfigure(errors=errors)


_LOOKALIKE = "zoo.lookalike"
_LOOKALIKES = {"×": "x", "±": "+-", "…": "...", "→": "->", "·": "*", "≤": "<=", "≥": ">=", "–": "-", "−": "-", "µ": "u"}


def _lookalike(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(_LOOKALIKES.get(x) or x.encode("ascii", "backslashreplace").decode() for x in letters), error.end


codecs.register_error(_LOOKALIKE, _lookalike)


def show_table(table: Table) -> None:
    """Print a table. In a terminal that is too narrow for what it can't do without, lines run past the edge."""
    from rich.measure import Measurement

    console = _console()
    for count in range(len(table.dispensable) + 1):
        shown = table.without(*table.dispensable[:count]) if count else table
        drawn, needed = _drawn(shown, READABLE if table.dispensable else 0)
        if needed > console.width:  # Rich would leave whole columns out; it knows exactly, and takes its time
            needed = Measurement.get(console, console.options.update(width=10_000), drawn).minimum
        if needed <= console.width:
            break
    _console(max(console.width, needed)).print(drawn, crop=False)


def family(name: str) -> Styled:
    """A family's name in its color."""
    return Styled(name, FAMILY_COLORS.get(name, ""))


def or_blank(value: float | None, form: str) -> str:
    """A number as the format says; blank where there is none."""
    return "" if value is None else format(value, form)


def aligned(numbers: Sequence[str]) -> list[str]:
    """Numbers as text, padded so that their decimal points are below each other: for a column that isn't '>'."""
    parts = [number.partition(".") for number in numbers]
    before, after = (max((len(part[k]) for part in parts), default=0) for k in (0, 2))
    return [
        f"{whole:>{before}}{point or ' '}{rest:<{after}}" if after else whole.rjust(before)
        for whole, point, rest in parts
    ]


def receptive_field(side: int | None) -> str:
    """In pixels; None stands for all of the image."""
    return "all" if side is None else f"{side}×{side}"


def _console(width: int | None = None) -> Any:
    from rich.console import Console

    # Where nobody looks at a terminal, in a log or a pipe, nothing is cut to 80 columns.
    return Console(highlight=False, width=width or (None if sys.stdout.isatty() else 200))


def _drawn(table: Table, readable: int) -> tuple[Any, int]:
    """A table of Rich's, and as many letters in a line as it needs at most, its words and `min_width`s kept whole.

    readable: letters that a column which is cut or folded has at least.
    """
    from rich.cells import cell_len
    from rich.table import Table as RichTable
    from rich.text import Text

    def text(cell: str | Styled) -> Text:
        return Text(printable(cell)) if isinstance(cell, str) else Text(printable(cell.text), style=cell.style)

    needed = 0
    drawn = RichTable(
        box=None, pad_edge=False, header_style="bold", show_footer=bool(table.footer), footer_style="bold"
    )
    if table.title:
        drawn.title = Text(printable(table.title), style="bold")
    if table.caption:
        drawn.caption = Text("\n".join(map(printable, table.caption)), style="table.caption")
        drawn.caption_justify = "left"
    for place, column in enumerate(table.columns):
        kind, name = (column[0], column[1:]) if column[:1] in tuple(KINDS) else ("", column)
        footer = table.footer[place] if table.footer else ""
        drawn.add_column(
            Text(printable(name)),
            footer,
            no_wrap=kind not in ("|", "~"),  # what doesn't wrap isn't made narrower
            justify="right" if kind == ">" else "left",
            overflow={"~": "ellipsis", "|": "fold"}.get(kind, "crop"),  # type: ignore[arg-type]
        )
        cells = (row[place] for row in table.rows if place < len(row))
        written = [str(text(cell)) for cell in (name, footer, *cells)]
        longest = max(map(cell_len, written))
        # A number or a name cut short is worse than a line that runs past the edge.
        least = longest if kind in ("", ">") else min(longest, readable)
        drawn.columns[-1].min_width = least
        if least == longest:  # Rich would measure each cell again
            drawn.columns[-1].width = longest
        needed += BETWEEN + max(least, *(cell_len(word) for cell in written for word in cell.split()), 0)
    for row in table.rows:
        shown = [text(cell) for cell in row]
        for cell, column in zip(shown, table.columns, strict=False):
            cell.no_wrap = column[:1] == "~" or None
        drawn.add_row(*shown)
    return drawn, needed
