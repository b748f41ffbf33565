"""Kills, a server that goes, and many trainings at once: PostgreSQL and S3 have what a database in a file has."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import own_server
import processes
import pytest
from nothing_lost import killed_again_and_again, server_is_killed, ten_at_once, undisturbed
from servers import free_port

pytestmark = [pytest.mark.apps, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The working folder of the trainings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("trainings"))
        yield Path.cwd()


@pytest.fixture(scope="module")
def server(own_folder):
    """Starts the server where it left off, and names it to clients. In the end it is killed, if it wasn't before."""
    port = free_port()

    @contextmanager
    def started():
        process = own_server.start(own_folder, port)
        try:
            patch.setenv("MLFLOW_TRACKING_URI", own_server.address(own_folder, port))
            yield process
        finally:
            processes.stop(process)
            process.stdout.close()

    with pytest.MonkeyPatch.context() as patch:
        yield started


@pytest.fixture(scope="module")
def running(server):
    with server():
        yield


@pytest.fixture(scope="module")
def expected(running, folder):
    return undisturbed(folder)


def test_a_server_that_is_killed_with_its_stores_and_started_again_has_everything_once(server, folder):
    server_is_killed(folder, server, epochs=8000)


@pytest.mark.parametrize("seed", [1])
def test_runs_that_are_killed_come_to_the_same_weights_and_curves(folder, expected, seed):
    killed_again_and_again(folder, expected, kills=4, seed=seed, later=2)


def test_ten_trainings_at_once_are_ten_complete_runs(running, folder):
    ten_at_once(folder)
