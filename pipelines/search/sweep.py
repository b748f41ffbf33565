"""`zoo sweep`: search the recipes of models by trials, and train the best one again to see how good it is."""

from __future__ import annotations

import logging
import re
import time as clock
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Unpack

from pipelines import tracking
from pipelines.core.provenance.plan import DataOptions, load_data
from pipelines.core.support.duration import written
from pipelines.core.support.locks import FileLock, Locked
from pipelines.maintenance.stale import stale
from pipelines.search import trials as kept
from pipelines.search.definition import Definition, as_begun, as_here, check_same, define, parse_definition
from pipelines.search.objective import OBJECTIVES
from pipelines.search.result import Swept, conclude, summarize
from pipelines.search.space import DEFAULT, holds, values_of
from pipelines.search.storage import default_storage, import_optuna, opened
from pipelines.search.worker import CLOSED, MOST, POLL, UNTIL, Worker
from pipelines.training.filing import check_name_is_free
from zoo.errors import SweepError, TrackingError

logger = logging.getLogger("zoo.sweep")

FOLDER = tracking.STORE_FOLDER / "sweeps"  # a folder for each, with its lock, its best recipe and its space
DEFINITION, RUN = "definition", "run"  # of a study: what it is, written last, and its run in the tracking store
SETTING_UP = 60.0  # seconds that a worker waits for a sweep which another one is about to write down
LONGEST_NAME = 100  # letters


def sweep(
    models: Sequence[str] = (),
    data: str | None = None,
    *,
    search: Sequence[str] = (DEFAULT,),
    trials: int | None = None,
    time: float | None = None,
    sweep_name: str | None = None,
    storage: str | None = None,
    join: str | None = None,
    seeds: int = 3,
    objective: Sequence[str] = ("accuracy",),
    where: Sequence[str] = (),
    sampler: str = "tpe",
    pruner: str | None = None,
    settings: Mapping[str, Any] | None = None,
    source: str | None = None,
    **reading: Unpack[DataOptions],
) -> Swept:
    """Search the recipes of models in a number of trials, or in a time, and confirm the best one with new seeds.

    The same call continues a sweep that was interrupted, and extends it if it asks for more trials. join: the name of a
    sweep that another process leads; take part in it until no trial is left. data: with `join`, where its images are
    on this machine.

    search: each is read by `parse_dimension`; `default` stands for the fields that suit the model. time: seconds after
    which running trials are stopped; retraining the winners takes extra time. storage: a database's URL, by default a
    SQLite file in mlruns/. seeds: how many times a winner is trained again. objective: of OBJECTIVES; several give a
    Pareto front, of which at most five trials are trained again. where: conditions that a winner must meet. sampler: of
    SAMPLERS. pruner: of PRUNERS, by default the median, or none if anything but accuracy is an objective. settings,
    source, reading: as in `train`.

    Trials are compared on the validation images; only the retrained winners are evaluated on the test images. Each
    trial is a child run of the sweep.
    Raises RecipeError for a space that can't be searched, SweepError for a field that has no effect, if the storage
    can't be reached, another sweep has the name, or all trials fail, and any ZooError of training.
    """
    url = storage or default_storage()
    import_optuna()
    for option, number in (("trials", trials), ("time", time), ("seeds", seeds)):
        if number is not None and not number > 0:
            raise SweepError(f"--{option} must be above 0, received {number}")
    if join is not None:
        given: tuple[Any, ...] = (models, trials, sweep_name, settings, source, where, pruner, *reading.values())
        if any(given) or (list(search), list(objective), sampler, seeds) != ([DEFAULT], ["accuracy"], "tpe", 3):
            raise SweepError(
                "a sweep is joined with its own options: give --join NAME, and --data, --storage and --time alone"
            )
        return _join(join, url, data, time)
    if not models or data is None:
        raise SweepError("a sweep needs models and --data, or --join NAME")
    if trials is None and time is None:
        raise SweepError("a sweep needs an end: give --trials N, --time TIME, or both")
    here = define(
        models,
        data,
        search,
        settings=settings,
        source=source,
        sampler=sampler,
        pruner=pruner or ("median" if tuple(objective) == ("accuracy",) else "none"),
        objectives=objective,
        where=where,
        reading=reading,
    )
    tracking.check_store()
    for plan in here.plans:
        check_name_is_free(plan)
    usual = re.sub(r"[^\w.+-]+", "-", f"{here.data_name}-{'-'.join(here.models)}").lstrip("-.+")[:LONGEST_NAME]
    name = _checked_name(sweep_name or usual)
    with _leading(name), opened(url) as database:
        return _lead(name, url, database, here, trials, time, seeds)


def _lead(
    name: str, url: str, database: Any, here: Definition, most: int | None, time: float | None, seeds: int
) -> Swept:
    """Begin the sweep or go on with it, wait for those who take part, and confirm what came of it."""
    study = _study(name, database, here)
    before = study.user_attrs
    if DEFINITION in before:
        begun = parse_definition(before[DEFINITION])
        here = as_begun(begun, here)
        check_same(name, begun, here)
        run = _reopened(name, str(before.get(RUN, "")))
        logger.info("continuing sweep %r, which has %d trials", name, len(kept.begun(study)))
        kept.repeat_forgotten(study)
    else:
        run = tracking.start_sweep(name, load_data(here.plans[0]), here.models, _searched(here))
        study.set_user_attr(RUN, run)
        _enqueue_own(study, here)
    study.set_user_attr(MOST, most)
    study.set_user_attr(UNTIL, clock.time() + time if time else None)
    study.set_user_attr(CLOSED, "")
    study.set_user_attr(DEFINITION, here.to_json())  # last: now others may join
    logger.info(
        "to take part from another process: zoo sweep --join %s%s",
        name,
        "" if url == default_storage() else " --storage URL",
    )
    with _ended(run), tracking.beating(run):
        stale()  # trials of workers that were killed end in the tracking store, too
        ends = Worker(study, name, here, run, _until(time)).work()
        if ends:
            study.set_user_attr(CLOSED, ends)
        while kept.any_in(study, "running"):  # another worker's, which ends at its next validation
            kept.repeat_lost(study)
            clock.sleep(POLL)
        stale()
        found = kept.read_trials(study, here.models)
        return conclude(name, url, run, here, found, seeds, FOLDER / name, study)


def _join(name: str, url: str, data: str | None, time: float | None) -> Swept:
    """Take part in a sweep until no trial is left."""
    with opened(url) as database:
        study = _begun(name, database)
        definition = parse_definition(study.user_attrs[DEFINITION])
        here = as_here(definition, data)
        check_same(name, definition, here)
        run = str(study.user_attrs.get(RUN, ""))
        tracking.check_store()
        if (
            not tracking.RUN_ID.fullmatch(run)
            or not tracking.store_exists()
            or not tracking.search(f"run_id = '{run}'")
        ):
            raise SweepError(
                f"the run of sweep {name!r} is not in {tracking.without_secrets(tracking.store_uri())}: "
                "set MLFLOW_TRACKING_URI to that of the sweep"
            )
        try:
            Worker(_study(name, database, here), name, here, run, _until(time), joined=True).work()
        except KeyboardInterrupt:  # its trial waits for any worker: resumed by itself, it would be trained outside
            raise KeyboardInterrupt("interrupted; the same command takes part again") from None
        return summarize(name, url, run, here, kept.read_trials(study, here.models))


def _study(name: str, database: Any, definition: Definition) -> Any:
    """Optuna's study of that name, which is made where there is none."""
    optuna = import_optuna()
    directions = ["maximize" if OBJECTIVES[each][0] else "minimize" for each in definition.objectives]
    try:
        return optuna.create_study(
            study_name=name,
            storage=database,
            directions=directions,
            sampler=_sampler(definition),
            pruner=_pruner(definition),
            load_if_exists=True,
        )
    except ValueError as error:
        raise SweepError(f"sweep {name!r} has other objectives ({error}): give this one another name") from None


def _sampler(definition: Definition) -> Any:
    samplers = import_optuna().samplers
    if definition.sampler == "random":
        return samplers.RandomSampler()
    # Fields that only some of the models have aren't looked at together, nor are several objectives.
    together = len(set(definition.spaces)) == 1 and len(definition.objectives) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", import_optuna().exceptions.ExperimentalWarning)
        return samplers.TPESampler(multivariate=together)


def _pruner(definition: Definition) -> Any:
    """After a fifth of the epochs, in which the rate climbs and five trials came to their end."""
    pruners = import_optuna().pruners
    if definition.pruner == "hyperband":
        return pruners.HyperbandPruner(min_resource=2, max_resource=10, reduction_factor=3)
    if definition.pruner == "median":
        return pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2)
    return pruners.NopPruner()


def _enqueue_own(study: Any, definition: Definition) -> None:
    """First of all comes each model's own recipe, where it lies in the space: what a sweep finds is no worse.

    Once, also where whoever began the sweep was killed before it had written down what the sweep is.
    """
    for plan, space in zip(definition.plans, definition.spaces, strict=True):
        if holds(space, plan.recipe):
            model = {kept.MODEL: plan.model} if len(definition.plans) > 1 else {}
            study.enqueue_trial({**model, **values_of(space, plan.recipe)}, skip_if_exists=True)


def _searched(definition: Definition) -> dict[str, str]:
    return {each.field: str(each).partition("=")[2] for space in definition.spaces for each in space}


def _until(seconds: float | None) -> Callable[[], str]:
    """What a worker asks: why it is to stop."""
    began = clock.monotonic()
    limit = f"the time limit of {written(seconds)} is up" if seconds else ""
    return lambda: limit if seconds and clock.monotonic() - began > seconds else ""


def _begun(name: str, database: Any) -> Any:
    """The study of that name, once it says what it is: who begins it may be about to."""
    optuna = import_optuna()
    ends = clock.monotonic() + SETTING_UP
    while clock.monotonic() < ends:
        try:
            study = optuna.load_study(study_name=name, storage=database)
        except KeyError:
            known = ", ".join(sorted(optuna.get_all_study_names(database))) or "none yet"
            raise SweepError(f"no sweep is called {name!r} there: there are {known}") from None
        if DEFINITION in study.user_attrs:
            return study
        clock.sleep(POLL / 10)
    raise SweepError(f"sweep {name!r} never finished starting: start it again with its own command")


def _reopened(name: str, run: str) -> str:
    if not tracking.RUN_ID.fullmatch(run):
        raise SweepError(f"the run of sweep {name!r} is called {run!r}: not used")
    try:
        tracking.reopen(run)
    except TrackingError as error:
        raise SweepError(f"the run of sweep {name!r} can't be continued ({error}): begin another sweep") from None
    return run


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"\w[\w.+-]*", name) or len(name) > LONGEST_NAME:
        raise SweepError(
            f"a sweep can't be called {name!r}: expected at most {LONGEST_NAME} letters, digits and . + - _, of which "
            "the first is a letter or a digit; give --sweep-name NAME"
        )
    return name


@contextmanager
def _leading(name: str) -> Iterator[None]:
    """One process of this machine leads a sweep, and waits for the others."""
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock"):
            yield
    except Locked as taken:
        raise SweepError(f"sweep {name!r} is led by {taken}: take part by `zoo sweep --join {name}`") from None


@contextmanager
def _ended(run: str) -> Iterator[None]:
    """The run of the sweep ends as what it was."""
    try:
        yield
    except KeyboardInterrupt:
        with suppress(TrackingError):  # what ended it is what to report
            tracking.finish(run, "KILLED")
        raise KeyboardInterrupt("interrupted; the same command continues") from None
    except BaseException:
        with suppress(TrackingError):
            tracking.finish(run, "FAILED")
        raise
    tracking.finish(run, "FINISHED")
