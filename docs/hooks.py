"""What MkDocs does beside its own: the page of all commands, and links to files and plots of the repository."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

from pipelines.cli.markdown import commands_page, data_set_rows

_DATA_SETS = re.compile(r"^(?:\| `[^`]+` \|.*\[.*\]\(.*\) \|\n)+", re.M)
_OUTSIDE = re.compile(r"(?<!!)\[([^\]]*)\]\((\.\./[^)#]*)[^)]*\)")
_PLOT = re.compile(r"(!\[[^\]]*\])\(\.\./([^)]*)\)")
_EMPTY_HEADER = re.compile(r"<th(?: [^>]*)?></th>")
_IMAGE = re.compile(r'<img [^>]*src="([^"]+)"[^>]*>')
_OVERVIEW = "README.md"
_API = "api.md"
_PARAGRAPH = re.compile(r"<p>([^<]*(?:<(?!/p>)[^<]*)*)</p>")
_AFTER_PARAMETERS = re.compile(r"(?<=\.)\s(?=Raises |Each step is logged|The file appears )")
_PARAMETER = re.compile(r"(?:^|(?<=\.) |\n)([a-z_\d]+(?:,\s[a-z_\d]+)*): ")


def on_files(files: Any, config: Any) -> Any:
    """Add the page of all commands, written from the parser, and the plots of the repository that pages show."""
    files.append(File.generated(config, "commands.md", content=commands_page()))
    docs = Path(config["docs_dir"])
    shown = {path for page in docs.glob("*.md") for _, path in _PLOT.findall(page.read_text(encoding="utf-8"))}
    for path in sorted(shown):
        files.append(File.generated(config, path, abs_src_path=str(docs.parent / path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Leave of a link out of docs/, to a file of the repository, its text: the site doesn't hold it.

    The page of data sets gets a row for each that is known today. The search ranks the overview, which mentions
    everything, below the pages that it lists. Raises FileNotFoundError for a file that isn't there, ValueError where
    the page has no such table.
    """
    if page.file.src_path == _OVERVIEW:
        page.meta["search"] = {"boost": 0.1}
    if page.file.src_path == "data.md":
        rows = "".join(f"{row}\n" for row in data_set_rows())
        markdown, tables = _DATA_SETS.subn(lambda _: rows, markdown)
        if tables != 1:
            raise ValueError(f"{page.file.src_path} has {tables} tables of data sets, expected one")

    def text(link: re.Match[str]) -> str:
        if page.file.abs_src_path and not (Path(page.file.abs_src_path).parent / link[2]).exists():
            raise FileNotFoundError(f"{page.file.src_path} has a dead link to {link[2]}")
        return link[1]

    return _OUTSIDE.sub(text, _PLOT.sub(r"\1(\2)", markdown))


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Link each image to itself, so that its text can be read at full size on a phone.

    And make the empty corner of a table a cell: a screen reader would announce it as a heading without a name. In the
    reference of the API, each parameter gets a paragraph: docstrings have them in running text.
    """
    if page.file.src_path == _API:
        html = _PARAGRAPH.sub(_with_parameters, html)
    return _IMAGE.sub(r'<a href="\1">\g<0></a>', _EMPTY_HEADER.sub("<td></td>", html))


def _with_parameters(paragraph: re.Match[str]) -> str:
    text = _PARAMETER.sub(r"</p><p><code>\1</code>: ", _AFTER_PARAMETERS.sub("</p><p>", paragraph[1]))
    return f"<p>{text}</p>".replace("<p></p>", "")
