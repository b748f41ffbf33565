"""Sweeps whose workers share a PostgreSQL database: as on a SQLite file, and what it says when it is away."""

from __future__ import annotations

import importlib.util
from contextlib import ExitStack

import own_server
import pytest
from sweeping import work_at_once

from pipelines.search import trials
from pipelines.search.storage import import_optuna, opened
from zoo.errors import SweepError

pytestmark = [pytest.mark.apps, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def postgres(own_folder):
    """The address of a database of its own, on the server of examples/server."""
    spec = importlib.util.spec_from_file_location("server", own_server.SERVER)
    server = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(server)
    with ExitStack() as parts:
        address = server.start_postgres(own_folder, server.read_secrets(own_folder / "secrets.json"), parts)
        yield address.format(name=server.DATABASES[0])


def test_ten_workers_that_start_at_once_share_the_trials(postgres, tmp_path):
    work_at_once(tmp_path, postgres, workers=10, most=30)


def test_a_lost_trial_is_repeated_there(postgres):
    with pytest.warns(UserWarning, match="Heartbeat of storage"), opened(postgres) as storage:
        study = import_optuna().create_study(study_name="lost", storage=storage)
        asked = study.ask()
        value = asked.suggest_float("learning_rate", 0.1, 1)
        trials.claim(asked)
        mine = asked.user_attrs[trials.PROCESS]
        asked.set_user_attr(trials.PROCESS, {**mine, "process.started": "1"})  # an id that was given again
        assert trials.repeat_lost(study) == 1
        assert study.ask().suggest_float("learning_rate", 0.1, 1) == value


def test_a_database_that_is_away_or_refuses_is_a_sentence_without_its_password(postgres):
    user, _, place = postgres.partition("@")
    secret = user.rpartition(":")[2]
    for wrong in (f"{user}1@{place}", f"{user}@127.0.0.1:1/x", f"{user}@{place}-none"):
        sentence = r"the storage postgresql\+psycopg://127.*can't be used: "
        with pytest.raises(SweepError, match=sentence) as caught, opened(wrong):
            pass
        assert secret not in str(caught.value)
