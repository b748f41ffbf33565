"""Modules that register what they define: a new file in their folder is found by itself."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules


def import_modules(package: str) -> None:
    """Import each module of a package, by name in alphabetical order. package: its dotted name.

    Raises whatever a module raises: one that can't be imported must not go missing in silence.
    """
    for module in sorted(each.name for each in iter_modules(import_module(package).__path__)):
        import_module(f"{package}.{module}")
