"""Typed results as JSON, for --json and for whoever reads it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any


def to_json(result: Any, *, only_ascii: bool = False) -> str:
    """A result, or a sequence of them, as JSON text under the names of its fields and properties.

    only_ascii: all other letters are written as escapes, for where they can't be written.
    """
    text = json.dumps(_plain(result), indent=2, ensure_ascii=only_ascii)
    return text.encode("utf-8", "backslashreplace").decode()  # a file's name may hold bytes that are no text


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        computed = [name for name, item in vars(type(value)).items() if isinstance(item, property)]
        return {name: _plain(getattr(value, name)) for name in [*(field.name for field in fields(value)), *computed]}
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):  # a named one
        return _plain(value._asdict())
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # NumPy arrays and scalars
        return value.tolist()
    return value


def digest_of(found: Mapping[str, Any]) -> str:
    """SHA-256, in hex, of what JSON can hold, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()
