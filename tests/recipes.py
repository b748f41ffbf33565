"""The recipes of CONTRIBUTING.md: files that a user copies."""

from __future__ import annotations

import re
from pathlib import Path

TEXT = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
# file name -> its code, as it stands there
RECIPES: dict[str, str] = dict(re.findall(r"^`(my_\w+\.py)`.*?:\n\n```python\n(.*?)```$", TEXT, re.M | re.S))


def moved_in(name: str) -> str:
    """A recipe as it moves into the package: without the two lines about `main`, and the import that they need."""
    code = RECIPES[name].replace("from pipelines.cli import main\n", "").replace("\n\nsys.exit(main())\n", "")
    return re.sub(r"\n{3,}(?=from )", "\n\n", code.replace("import sys\n", "", 1))
