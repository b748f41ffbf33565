"""The server's UI in a browser, its user logged in: the pages that a database in a file has."""

from __future__ import annotations

import re

import own_server
import pytest
from mlflow_pages import *  # noqa: F403 (the tests)
from mlflow_pages import Ui, make_runs
from servers import free_port

from pipelines import tracking


@pytest.fixture(scope="module")
def place(own_folder, tmp_path_factory):
    process = own_server.start(own_folder, port := free_port())
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", own_server.address(own_folder, port))
            patch.chdir(tmp_path_factory.mktemp("browsed"))
            make_runs()
            yield port
    finally:
        own_server.stop(process)


@pytest.fixture(scope="module")
def ui(place, own_folder):
    """The description of the experiment names its results."""
    with tracking.open_client() as client:
        description = client.get_experiment_by_name("digits").tags["mlflow.note.content"]
    (results,) = re.findall(r"\[Table of results\]\((\S+)\)", description)
    yield Ui(f"http://127.0.0.1:{place}", results, "admin", own_server.secrets_of(own_folder)["admin"])
