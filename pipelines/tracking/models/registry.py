"""The registered models: one a data set, its versions, and the aliases that say which of them is meant.

The history of an alias is kept in a tag of the registered model, the versions that held it in their order, so that a
demotion finds the one before. Writing is in an order that leaves nothing half done: a new version is whole before an
alias names it, what says that it was promoted is written when it is, and a promotion or a demotion that was interrupted
can be done again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipelines.core.support.locks import FileLock
from pipelines.tracking.describing import shown
from pipelines.tracking.store import database_file, open_client, store_uri, without_secrets
from zoo.errors import TrackingError, printable

HISTORY_TAG = "history_of_{alias}"  # numbers of versions, the latest last
MODEL_TAG = "model_id"  # of a version: the id of its logged model
LONGEST_HISTORY = 500  # versions; MLflow's tags take 5,000 characters


@dataclass(frozen=True)
class Version:
    """A version of a registered model.

    number: from 1 on. source: the folder of the logged model in the store. run_id: of the run that it is from.
    """

    name: str
    number: int
    source: str
    run_id: str
    tags: Mapping[str, str]

    def __str__(self) -> str:
        return f"version {self.number} of {printable(self.name)}"


def registered_name(data_set: str) -> str:
    """The name of a data set's registered model, which takes no slash, colon or blank."""
    return re.sub(r"[^\w.-]+", "-", data_set).strip("-.") or "unnamed"


def check_alias(alias: str) -> None:
    """Raise TrackingError for an alias that MLflow wouldn't take, before anything is written."""
    if not re.fullmatch(r"[A-Za-z][\w-]{0,99}", alias, re.ASCII) or re.fullmatch(r"latest|v\d+", alias, re.IGNORECASE):
        raise TrackingError(
            f"{alias!r} can't be an alias: expected letters, digits, - and _, and neither latest nor a number"
        )


def find_holder(name: str, alias: str) -> Version | None:
    """The version that holds an alias; None where none does, or nothing is registered by that name."""
    with open_client() as client:
        model = _model(client, name)
        number = _held(model, alias)
        return None if number is None else _version(client.get_model_version(name, str(number)))


def find_version(uri: str) -> Version:
    """What models:/NAME@ALIAS or models:/NAME/VERSION names. Raises TrackingError where it isn't there."""
    found = re.fullmatch(r"models:/(?P<name>[^/@]+)(@(?P<alias>[^/@]+)|/(?P<number>\d+))", uri)
    if not found:
        raise TrackingError(f"{uri!r} names no model: expected models:/NAME@ALIAS or models:/NAME/VERSION")
    name, alias, number = found["name"], found["alias"], found["number"]
    with open_client() as client:
        model = _model(client, name)
        if model is None:
            known = sorted(each.name for each in client.search_registered_models(max_results=100))
            there_are = f"there are {', '.join(map(printable, known))}" if known else "there is none yet"
            raise TrackingError(
                f"no model is registered as {name!r} in {without_secrets(store_uri())}: {there_are}; "
                "zoo promote registers one"
            )
        if alias and _held(model, alias) is None:
            there_are = ", ".join(sorted(model.aliases)) or "none"
            raise TrackingError(f"{name} has no {alias!r} (its aliases: {there_are}): `zoo promote` gives them")
        if number and number not in {str(each.version) for each in _versions(client, name)}:
            numbers = ", ".join(sorted((str(each.version) for each in _versions(client, name)), key=int)) or "none"
            raise TrackingError(f"{name} has no version {number} (its versions: {numbers}): name another")
        return _version(client.get_model_version(name, number or str(model.aliases[alias])))


def registered_data_set(name: str) -> str | None:
    """The data set that a registered model is of; None where nothing is registered by that name."""
    with open_client() as client:
        model = _model(client, name)
        return None if model is None else str(model.tags.get("data_set", name))


def register(
    name: str, data_set: str, model_id: str, run_id: str, tags: Mapping[str, str], description: str
) -> Version:
    """The version of a logged model, with these tags and this description: a new one, unless it is registered already.

    A new version appears with all of it at once.
    """
    known = {MODEL_TAG: model_id, **tags}  # MLflow's own model_id of a version isn't kept by its databases
    with open_client() as client:
        if _model(client, name) is None:
            text = f"Classifiers of {shown(data_set)}. zoo promote registers their versions and moves their aliases."
            client.create_registered_model(name, {"data_set": data_set}, text)
        own = next((each for each in _versions(client, name) if each.tags.get(MODEL_TAG) == model_id), None)
        if own is not None:
            for key, value in known.items():
                client.set_model_version_tag(name, own.version, key, value)
            client.update_model_version(name, own.version, description)
            return _version(client.get_model_version(name, own.version))
        logged = client.get_logged_model(model_id)
        made = client.create_model_version(  # a server asks for the model's id, to see that the place is its own
            name, logged.artifact_location, run_id, known, description=description, model_id=model_id
        )
        # By this tag the UI shows on the pages of run and model which versions there are of it.
        beside = json.loads(logged.tags.get("mlflow.modelVersions", "[]"))
        beside.append({"name": name, "version": int(made.version)})
        client.set_logged_model_tags(model_id, {"mlflow.modelVersions": json.dumps(beside)})
        return _version(made)


def move_alias(version: Version, alias: str, before: Version | None) -> None:
    """Let an alias name that version, and write that down. Raises TrackingError where it isn't held by `before`."""
    with _one_at_a_time(), open_client() as client:
        _check_held(client, version.name, alias, before)
        history = _history(client, version.name, alias)
        if before is not None and history[-1:] != [before.number]:  # moved by somebody else
            history.append(before.number)
        if history[-1:] != [version.number]:
            history.append(version.number)
        client.set_registered_model_alias(version.name, alias, str(version.number))
        _write_history(client, version.name, alias, history)
        _check_held(client, version.name, alias, version)  # a server has no lock: another promotion may have come last


def log_promotion(version: Version, alias: str, tags: Mapping[str, str], description: str) -> None:
    """Write down that an alias names that version. Raises TrackingError where it doesn't."""
    with open_client() as client:
        _check_held(client, version.name, alias, version)
        for key, value in tags.items():
            client.set_model_version_tag(version.name, str(version.number), key, value)
        client.update_model_version(version.name, str(version.number), description)


def move_alias_back(name: str, alias: str) -> tuple[Version, Version]:
    """Let an alias name the version that held it before. Returns the one that held it, and the one that does.

    Raises TrackingError where none holds it, or none did before.
    """
    with _one_at_a_time(), open_client() as client:
        model = _model(client, name)
        number = _held(model, alias)
        if number is None:
            raise TrackingError(f"{name} has no {alias!r}: there is nothing to demote")
        held = _version(client.get_model_version(name, str(number)))
        there = {int(each.version) for each in _versions(client, name)}
        history = [number for number in _history(client, name, alias) if number in there]
        while history[-1:] == [held.number]:
            history.pop()
        if not history:
            raise TrackingError(f"no version of {name} was {alias} before {held.number}: promote another one")
        _write_history(client, name, alias, history)  # first: interrupted here, it is done again, and leads no further
        client.set_registered_model_alias(name, alias, str(history[-1]))
        return held, _version(client.get_model_version(name, str(history[-1])))


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Nobody else moves an alias of a SQLite store until the block ends."""
    path = database_file(store_uri())
    if path is None:
        yield
        return
    with FileLock(path.with_name(f"{path.name}.aliases"), wait=True) as lock:
        try:
            yield
        finally:
            lock.path.unlink(missing_ok=True)


def _held(model: Any, alias: str) -> int | None:
    """The number of the version that holds an alias."""
    number = model.aliases.get(alias) if model else None
    return None if number is None else int(number)


def _check_held(client: Any, name: str, alias: str, before: Version | None) -> None:
    model = _model(client, name)
    number = _held(model, alias)
    if number != (before.number if before else None):
        now = "none" if number is None else f"version {number}"
        raise TrackingError(f"the {alias} of {name} changed meanwhile (now {now}): promote again")


def _history(client: Any, name: str, alias: str) -> list[int]:
    text = client.get_registered_model(name).tags.get(HISTORY_TAG.format(alias=alias), "")
    return [int(number) for number in text.split() if number.isdecimal()]


def _write_history(client: Any, name: str, alias: str, history: list[int]) -> None:
    text = " ".join(map(str, history[-LONGEST_HISTORY:]))
    client.set_registered_model_tag(name, HISTORY_TAG.format(alias=alias), text)


def _model(client: Any, name: str) -> Any:
    from mlflow import MlflowException

    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def _versions(client: Any, name: str) -> list[Any]:
    quoted = name.replace("'", "")  # no name of ours holds one
    return list(client.search_model_versions(f"name = '{quoted}'", max_results=10_000))


def _version(found: Any) -> Version:
    return Version(found.name, int(found.version), str(found.source), found.run_id or "", dict(found.tags))
