"""What the tests of the server share: a place for it, and what has to be installed."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from chromium import browser, playwright  # noqa: F401 (fixtures)


@pytest.fixture(scope="module")
def own_folder():
    """Where a server keeps what it has."""
    if not (shutil.which("postgres") or list(Path("/usr/lib/postgresql").glob("*/bin/postgres"))):
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="zoo-server-"))  # not below pytest's, which PostgreSQL's user can't reach
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
