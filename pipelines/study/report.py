"""The report of a study: one self-contained page, and the same as Markdown with its charts beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from pipelines.core.support import markdown
from pipelines.core.support.atomic import atomic_file
from pipelines.plotting.forest import Forest, Row
from pipelines.plotting.html import render
from pipelines.plotting.svg import Drawing
from pipelines.study.experiment import QUICK_SEEDS, SEEDS, Experiment
from pipelines.study.finding import Finding, Judgement, Verdict
from pipelines.study.record import Record

PAGE_FILE, TEXT_FILE, FOREST_FILE = "report.html", "README.md", "effects.svg"
TITLE = "What is true of dense and conv layers"
QUICK = (
    "This is the quick study: fewer images, updates, seeds, and conditions than the method states, and mostly smaller "
    "models. Its intervals are wide, and conv models, which learn more slowly at first, are behind where they lead "
    "after more updates. It shows how an experiment works; for results, see the full study."
)
_WORDS = {  # of one claim, and of several
    Verdict.HOLDS: ("holds", "hold"),
    Verdict.LIMITS: ("holds with limits", "hold with limits"),
    Verdict.PART: ("holds in part", "hold in part"),
    Verdict.REFUTED: ("is refuted", "are refuted"),
    Verdict.OPEN: ("is undecided", "are undecided"),
}

Found: TypeAlias = tuple[Experiment, Finding, Record]


def write_report(folder: Path, found: Sequence[Found], in_full: Mapping[str, Verdict]) -> None:
    """Write report.html, README.md and a chart each as SVG into the folder, each whole or not at all.

    in_full: of a quick study, the verdicts of the full one by the name of the experiment, to stand beside its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pages = {PAGE_FILE: page(found, in_full), TEXT_FILE: text(found, in_full)}
    pages |= {name: chart.svg() for experiment, finding, _ in found for name, chart in _charts(experiment, finding)}
    if effects := forest(found):
        pages[FOREST_FILE] = effects.svg()
    for name, content in pages.items():
        with atomic_file(folder / name) as partial:
            partial.write_text(content, encoding="utf-8")


def page(found: Sequence[Found], in_full: Mapping[str, Verdict]) -> str:
    """HTML: the summary, then a section for each experiment."""
    made = _made_by(found)
    return render(
        "study/report.html.j2",
        title=TITLE,
        quick=QUICK if is_quick(found) else "",
        foreword=_foreword(found),
        tally=_tally(found),
        sections=[
            {
                "experiment": experiment,
                "finding": finding,
                "exceptions": _exceptions(finding),
                "charts": [chart for _, chart in _charts(experiment, finding)],
                "facts": list(_facts(experiment, record, made)),
                "command": _command(experiment, record),
            }
            for experiment, finding, record in found
        ],
        forest=forest(found),
        in_full=in_full,
        sentence=_sentence,
        has_intervals=_has_intervals,
    )


def forest(found: Sequence[Found]) -> Forest | None:
    """The main effects that are differences in percentage points, by size; None where fewer than two are."""
    effects = [(experiment.name, finding.effects[0]) for experiment, finding, _ in found]
    rows = [
        Row(
            name,
            effect.mean,
            *effect.interval,
            effect.least,
            effect.most,
            effect.judgement,
            (effect.rounded(effect.mean), effect.between, effect.bounds),
        )
        for name, effect in effects
        if effect.unit == "points" and np.isfinite(effect.interval).all()
    ]
    title = "Main effects in percentage points, with their 95% intervals"
    return Forest(title, "points", sorted(rows, key=lambda r: -r.mean)) if len(rows) > 1 else None


def _has_intervals(chart: Drawing) -> bool:
    return any(interval for _, _, _, interval, *_ in chart.rows()[1:])


# --- the text ------------------------------------------------------------------------------------------------------


def text(found: Sequence[Found], in_full: Mapping[str, Verdict]) -> str:
    """The same as Markdown."""
    made, drawn = _made_by(found), forest(found)
    plain = markdown.plain
    rows = (
        markdown.row(
            (
                f"[{e.name}](#{e.name})",
                plain(e.claim),
                plain(_sentence(f.statement)),
                "; ".join([f"**{f.verdict}**", *map(plain, _exceptions(f))]),
                *((in_full.get(e.name, "–"),) if in_full else ()),
            )
        )
        for e, f, _ in found
    )
    parts = [
        f"# {TITLE}",
        f"**{QUICK}**" if is_quick(found) else "",
        markdown.filled(plain(_foreword(found))),
        ", ".join(f"**{text}**" for _, text in _tally(found)),
        f"![{drawn.title}. Gray: what the claim predicts.]({FOREST_FILE})" if drawn else "",
        markdown.table(("experiment", "claim", "main effect", "verdict", *(("in full",) if in_full else ())), rows),
    ]
    for e, f, r in found:
        effects = (
            markdown.row((plain(effect.name), plain(effect.measured), plain(effect.prediction), effect.judgement))
            for effect in f.effects
        )
        parts += [
            f"## {e.name}",
            markdown.filled(f"*Claim*: {plain(e.claim)}"),
            markdown.filled(f"**{_sentence(f.verdict)}.** {plain(_sentence(f.statement))}."),
            *(f"![{plain(chart.title)}]({name})" for name, chart in _charts(e, f)),
            markdown.table(("effect", "measured (95% interval)", "claimed", "result"), effects),
            *(markdown.filled(f"*{name}*: {plain(fact)}") for name, fact in _facts(e, r, made)),
            f"    {_command(e, r)}",
        ]
    return "\n\n".join(part for part in parts if part) + "\n"


# --- both ----------------------------------------------------------------------------------------------------------


def _charts(experiment: Experiment, finding: Finding) -> Iterable[tuple[str, Drawing]]:
    """The name of the file that each chart has beside the text, and the chart."""
    for number, chart in enumerate((finding.chart, *finding.more), start=1):
        yield f"{experiment.name}{f'-{number}' if number > 1 else ''}.svg", chart


def _foreword(found: Sequence[Found]) -> str:
    seconds = [seconds for _, seconds in _made_by(found).values()]
    return (
        f"{_many(len(found), 'claim')}, tested by experiment. Each comes with the criterion that would refute it, and "
        f"its verdict is computed from the measured effects. It took {_many(len(seconds), 'training run')} and "
        f"{_time(sum(seconds))}; models that several experiments share are trained once. An effect is a mean over "
        "seeds with its 95% confidence interval (Student's t). Seeds change the initial weights, the order of images "
        "and, unless all are used, the training images drawn; a different number of threads acts like a different "
        "seed. All seeds have the same test images, except for tables; another 10,000 test images of Fashion-MNIST "
        "would change a difference by about half a point as well. A claim holds if the intervals of all effects lie "
        "within the claimed bounds. If that of the first, the main effect, does, it holds in part where another effect "
        "contradicts it, and with limits where others are undecided. It is refuted if the interval of the main effect "
        "lies entirely outside; otherwise, it is undecided. Most criteria were written before the measurements, as the "
        "repository's history shows; a limit added later can only weaken a verdict, and where a measure was replaced "
        f"after its results, the caveats say so.{_second_look(found)}"
    )


def is_quick(found: Sequence[Found]) -> bool:
    """Whether any of the results are of the quick study, so that the report starts with `QUICK`."""
    return any(record.quick for _, _, record in found)


def _second_look(found: Sequence[Found]) -> str:
    """What to know where experiments have more seeds than usual."""
    names = [experiment.name for experiment, _, record in found if not record.quick and len(record.seeds) > SEEDS]
    if not names:
        return ""
    return (
        f" {', '.join(names)} have more than {SEEDS} seeds: where more are run because the first left a verdict open, "
        "it is a little likelier to be wrong."
    )


def _exceptions(finding: Finding) -> Sequence[str]:
    """Of a claim that holds or is refuted: the effects that say something else, and what it predicts."""
    if finding.verdict is Verdict.OPEN:
        return []
    usual = Judgement.CONTRADICTS if finding.verdict is Verdict.REFUTED else Judgement.AS_CLAIMED
    return [
        f"{e.judgement}: {e.name}: {e.measured}, claimed {e.prediction}"
        for e in finding.effects
        if e.judgement is not usual
    ]


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' if count != 1 else ''}"


def _time(seconds: float) -> str:
    if seconds < 90:
        return _many(round(seconds), "second")
    return _many(round(seconds / 60), "minute") if seconds < 5400 else f"{seconds / 3600:.1f} hours"


_Made: TypeAlias = Mapping[str, tuple[str, float]]  # key of a training -> the experiment that made it, and seconds


def _made_by(found: Sequence[Found]) -> _Made:
    """Which experiment made each training: equal ones are made once, and only looked up by other experiments."""
    made: dict[str, tuple[str, float]] = {}
    for experiment, _, record in found:
        for measured in record.trainings.values():
            if measured.key not in made or measured.seconds > made[measured.key][1]:
                made[measured.key] = experiment.name, measured.seconds
    return made


def _tally(found: Sequence[Found]) -> Sequence[tuple[Verdict, str]]:
    """How many claims have each verdict that occurs, as text."""
    verdicts = [finding.verdict for _, finding, _ in found]
    counts = {verdict: verdicts.count(verdict) for verdict in Verdict}
    return [(verdict, f"{count} {_WORDS[verdict][count > 1]}") for verdict, count in counts.items() if count]


def _facts(experiment: Experiment, record: Record, made: _Made) -> Iterable[tuple[str, str]]:
    yield "Method", experiment.method
    yield "Controlled", experiment.held_equal
    yield "What would refute it", experiment.refuted_if
    yield "Caveats", experiment.beware
    trainings = [measured for (_, seed), measured in record.trainings.items() if seed in record.seeds]
    if trainings:
        keys = {each.key for each in trainings}
        own = [made[key][1] for key in keys if made[key][0] == experiment.name]
        others = sorted({made[key][0] for key in keys} - {experiment.name})
        parts = [f"{len(own)} of its own, {_time(sum(own))}"] if own else []
        parts += [f"{len(keys) - len(own)} shared with {', '.join(others)}"] if others else []
        text = f"{_many(len(keys), 'training run')}, seeds 1 to {len(record.seeds)}"
        yield "Training", f"{text}: {'; '.join(parts)}"
    if record.observed:
        yield "Machine", "; ".join(sorted({each.machine for each in record.observed.values()}))


def _command(experiment: Experiment, record: Record) -> str:
    quick, usual = (" --quick", QUICK_SEEDS) if record.quick else ("", SEEDS)
    seeds = f" --seeds {len(record.seeds)}" if len(record.seeds) != usual else ""
    return f"zoo study {experiment.name}{quick}{seeds}"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
