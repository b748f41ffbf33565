"""The code blocks of the pages that people read, each with the comment before it that says what runs it, or why not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
_BLOCK = re.compile(
    r"(?P<before>[^\n]*)\n(?P<blank>\n?)^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE
)
_MARK = re.compile(r"<!-- (?:not run: (?P<reason>.+)|run by (?P<file>tests/[\w./]+\.py): (?P<test>\w+)) -->")


@dataclass(frozen=True)
class Block:
    """file: the name that the line before it gives. skipped: why it isn't run. test: (file, name) of the one that does.

    place: its page and line.
    """

    place: str
    language: str
    code: str
    file: str
    skipped: str
    test: tuple[str, str] | None

    @property
    def marked(self) -> bool:
        """Whether a comment says what becomes of it."""
        return bool(self.skipped or self.test)


def code_blocks(page: Path) -> list[Block]:
    """In the order of the page."""
    text = page.read_text(encoding="utf-8")
    found = []
    for block in _BLOCK.finditer(text):
        file = re.search(r"`(\w+\.py)`[^`]*:$", block["before"])
        mark = _MARK.fullmatch(block["before"]) if not block["blank"] else None
        place = f"{page.relative_to(ROOT).as_posix()}:{text.count(chr(10), 0, block.start('language')) + 1}"
        test = (mark["file"], mark["test"]) if mark and mark["file"] else None
        skipped = (mark["reason"] or "") if mark else ""
        found.append(Block(place, block["language"], block["code"], file[1] if file else "", skipped, test))
    return found


def read_by_people() -> list[Path]:
    """The pages in Markdown that aren't cards or reports, which commands write."""
    folders = {"": "*.md", "docs": "*.md", "examples": "**/*.md", "exports": "*.md", "mlruns": "README.md"}
    pages = (page for folder, names in folders.items() for page in sorted((ROOT / folder).glob(names)))
    return [page for page in pages if "node_modules" not in page.parts and page.name != "commands.md"]
