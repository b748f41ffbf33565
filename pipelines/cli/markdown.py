"""`python -m pipelines.cli.markdown`: the commands and the fields of a recipe as a page, from the registry alone."""

from __future__ import annotations

from argparse import HelpFormatter

from pipelines.cli.parser import make_parser
from pipelines.cli.registry import GROUPS, commands
from pipelines.datasets.known import data_list
from zoo.recipe import Recipe


def commands_page() -> str:
    """The page, in Markdown: each command by what people do, with its help, and each field that --set takes."""
    parser = make_parser()
    lines = ["# Commands", "", "Written by `make docs`, from the code.", ""]
    for group, what in GROUPS.items():
        lines += [f"- **{group}** ({what}): " + ", ".join(_link(c.name) for c in commands() if c.group == group)]
    for command in commands():
        own = parser.commands[command.name]
        own.formatter_class = _Wide
        lines += ["", f"## zoo {command.name}", "", f"{command.summary}.", "", "```", own.format_help().rstrip(), "```"]
    lines += ["", "## Fields of a recipe", "", "`--set FIELD=VALUE` changes one.", ""]
    lines += ["| field | type | default | allowed | reason |", "|---|---|---|---|---|"]
    for field in Recipe().described():
        cells = (f"`{field.name}`", field.type, str(field.default), field.allowed, field.reason)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def data_set_rows() -> list[str]:
    """The rows of the table in docs/data.md, one for each known data set; the site has those of today."""
    rows = []
    for each in data_list():
        size = f"{each.download / 1e6:,.0f} MB" if each.download else ""
        source = f"[{each.reference or each.source}]({each.source})"
        rows.append(f"| `{each.name}` | {each.summary.rstrip('.')} | {size} | {each.license} | {source} |")
    return rows


class _Wide(HelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32, width=110)


def _link(name: str) -> str:
    return f"[{name}](#zoo-{name.replace(' ', '-')})"


if __name__ == "__main__":
    print(commands_page(), end="")
