"""Pages by templates: one file each that loads nothing, runs nothing, and is safe whatever things are called.

A template lies beside the module that fills it, extends plotting/page.html.j2, and is named by its path in `pipelines`.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from typing import TYPE_CHECKING, Any

from pipelines.plotting import palette
from pipelines.plotting.svg import STYLE
from zoo.errors import printable

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


def render(template: str, **values: Any) -> str:
    """The text of a page. template: such as "study/report.html.j2"; values: all that it names, or it is an error."""
    return _environment().get_template(template).render(values)


def data_uri(png: bytes) -> Markup:
    """An image as an address that holds it, which a page shows whole: other long values are cut."""
    from markupsafe import Markup

    return Markup(f"data:image/png;base64,{base64.b64encode(png).decode()}")  # noqa: S704 (base64 is safe)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # who writes no page needn't wait for it

    environment = Environment(
        loader=PackageLoader("pipelines", ""),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["sha256"] = _sha256
    environment.globals |= {"palette": palette, "chart_style": STYLE}
    return environment


def _shown(value: Any) -> Any:
    """A value as text: names may hold anything, marks that turn a line around and bytes that are no text among them."""
    return value if hasattr(value, "__html__") else printable(str(value))


def _sha256(text: str) -> str:
    """By which a page's policy allows a style."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
