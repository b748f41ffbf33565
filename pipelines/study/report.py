"""The report of a study: one self-contained page, and the same as Markdown with its charts beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TypeAlias

from pipelines.core.support import markdown
from pipelines.core.support.atomic import atomic_file
from pipelines.plotting.svg import Drawing
from pipelines.study.experiment import QUICK_SEEDS, SEEDS, Experiment
from pipelines.study.finding import Effect, Finding, Judgement, Verdict
from pipelines.study.record import Record

PAGE_FILE, TEXT_FILE = "report.html", "README.md"
TITLE = "What is true of dense and conv layers"
QUICK = (
    "This is the quick study: fewer images, updates, seeds and conditions than the method states, and mostly smaller "
    "models. Its intervals are wide, and conv models, which learn more slowly at first, are behind where they are "
    "ahead after more updates. It shows how an experiment works; results are those of the full study."
)
_TOLD = {  # of one claim, and of several
    Verdict.HOLDS: ("holds", "hold"),
    Verdict.LIMITS: ("holds with limits", "hold with limits"),
    Verdict.REFUTED: ("is refuted", "are refuted"),
    Verdict.OPEN: ("is undecided", "are undecided"),
}

Found: TypeAlias = tuple[Experiment, Finding, Record]

# Nothing is loaded and nothing runs.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_MARKS = {Verdict.HOLDS: "holds", Verdict.LIMITS: "limits", Verdict.REFUTED: "refuted", Verdict.OPEN: "open"}
_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --quiet: #5b6470; --rule: #e5e7eb; --paper: #fff; --card: #f7f8fa; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --quiet: #9aa3af; --rule: #374151; --paper: #14171b; --card: #1d2126; } }
body { font: 17px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 50rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; line-height: 1.2; } h2 { font-size: 1.25rem; margin-top: 3rem; }
a { color: inherit; } table { border-collapse: collapse; width: 100%; font-size: .92em; }
td, th { text-align: left; vertical-align: top; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--rule); }
.scroll { overflow-x: auto; } figure { margin: 0; } svg { width: 100%; max-width: 42rem; height: auto; }
.quiet { color: var(--quiet); font-size: .92em; }
.verdict { display: inline-block; padding: .1rem .6rem; border-radius: 1rem; font-weight: 600; white-space: nowrap;
  border: 2px solid; }
.holds { color: #00795a; } .limits { color: #9a6700; } .refuted { color: #c0392b; } .open { color: var(--quiet); }
@media (prefers-color-scheme: dark) {
  .holds { color: #3ecf9e; } .limits { color: #f0b429; } .refuted { color: #ff8a7a; } }
code { background: var(--card); padding: .1rem .3rem; } summary { cursor: pointer; } dt { font-weight: 600; }
dd { margin: 0 0 .5rem; } .whole { white-space: nowrap; }
@media (max-width: 40rem) { .rows thead { display: none; } .rows td { display: block; border: 0; padding: 0; }
  .rows tr { display: block; border-bottom: 1px solid var(--rule); padding: .6rem 0; }
  .claimed::before { content: "claimed: "; } .full::before { content: "in full: "; } }
@media print { h2 { break-before: page; } details { display: none; } }
"""


def write_report(folder: Path, found: Sequence[Found], in_full: Mapping[str, Verdict]) -> None:
    """Write report.html, README.md and a chart each as SVG into the folder, each whole or not at all.

    in_full: of a quick study, the verdicts of the full one by the name of the experiment, to stand beside its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pages = {PAGE_FILE: page(found, in_full), TEXT_FILE: text(found, in_full)}
    pages |= {name: chart.svg() for experiment, finding, _ in found for name, chart in _charts(experiment, finding)}
    for name, content in pages.items():
        with atomic_file(folder / name) as partial:
            partial.write_text(content, encoding="utf-8")


# --- the page ------------------------------------------------------------------------------------------------------


def page(found: Sequence[Found], in_full: Mapping[str, Verdict]) -> str:
    """HTML: the summary, then a section for each experiment."""
    made = _made_by(found)
    summary = "".join(
        f'<tr><td><a href="#{e.name}">{e.name}</a><br>{escape(e.claim)}</td>'
        f'<td>{escape(f.effects[0].name)}:<br><span class="whole">{escape(_told(f.effects[0]))}</span></td>'
        f'<td>{_badge(f.verdict)}<br><span class="quiet">{"<br>".join(map(escape, _limits(f)))}</span></td>'
        + (
            f'<td class="full">{_badge(in_full[e.name]) if e.name in in_full else "–"}</td></tr>'
            if in_full
            else "</tr>"
        )
        for e, f, _ in found
    )
    return "\n".join(
        [
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{TITLE}</title>',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><style>{_STYLE}</style></head><body>',
            f"<h1>{TITLE}</h1>",
            f"<p><strong>{QUICK}</strong></p>" if is_quick(found) else "",
            f"<p>{escape(_foreword(found))}</p>",
            f"<p>{' '.join(_badge(verdict, told) for verdict, told in _tally(found))}</p>",
            '<table class="rows"><thead><tr><th>claim</th><th>main effect (95 % interval)</th><th>verdict</th>'
            f"{'<th>in full</th>' if in_full else ''}</tr></thead><tbody>{summary}</tbody></table>",
            *(_section(e, f, r, made) for e, f, r in found),
            "</body></html>\n",
        ]
    )


def _section(experiment: Experiment, finding: Finding, record: Record, made: _Made) -> str:
    effects = "".join(
        f'<tr><td>{escape(effect.name)}</td><td class="whole">{escape(_told(effect))}</td>'
        f'<td class="claimed">{escape(effect.prediction)}</td>'
        f"<td>{escape(effect.judgement)}</td></tr>"
        for effect in finding.effects
    )
    facts = "".join(f"<dt>{name}</dt><dd>{escape(fact)}</dd>" for name, fact in _facts(experiment, record, made))
    metrics = "".join(
        f'<figure>{chart.svg()}<figcaption class="quiet">{escape(chart.title)}.{_bars(chart)}</figcaption></figure>'
        f"{_as_table(chart)}"
        for _, chart in _charts(experiment, finding)
    )
    return (
        f'<section id="{experiment.name}"><h2>{escape(experiment.name)} {_badge(finding.verdict)}</h2>'
        f"<p><strong>Claim:</strong> {escape(experiment.claim)}</p>{metrics}"
        '<table class="rows"><thead><tr><th>effect</th><th>measured (95 % interval)</th><th>claimed</th><th>result</th>'
        f"</tr></thead><tbody>{effects}</tbody></table><dl>{facts}</dl>"
        f"<p><code>{_command(experiment, record)}</code></p></section>"
    )


def _as_table(chart: Drawing) -> str:
    head, *body = chart.rows()
    cells = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in body)
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    return (
        f'<details><summary class="quiet">The chart as a table</summary><div class="scroll"><table><thead><tr>{names}'
        f"</tr></thead><tbody>{cells}</tbody></table></div></details>"
    )


def _bars(chart: Drawing) -> str:
    return " Bars: 95 % intervals." if any(interval for _, _, _, interval, *_ in chart.rows()[1:]) else ""


def _badge(verdict: Verdict, told: str = "") -> str:
    return f'<span class="verdict {_MARKS[verdict]}">{told or verdict}</span>'


# --- the text ------------------------------------------------------------------------------------------------------


def text(found: Sequence[Found], in_full: Mapping[str, Verdict]) -> str:
    """The same as Markdown."""
    made = _made_by(found)
    plain = markdown.plain
    rows = (
        markdown.row(
            (
                f"[{e.name}](#{e.name})",
                plain(e.claim),
                plain(f"{f.effects[0].name}: {_told(f.effects[0])}"),
                "; ".join([f"**{f.verdict}**", *map(plain, _limits(f))]),
                *((in_full.get(e.name, "–"),) if in_full else ()),
            )
        )
        for e, f, _ in found
    )
    parts = [
        f"# {TITLE}",
        f"**{QUICK}**" if is_quick(found) else "",
        markdown.filled(plain(_foreword(found))),
        ", ".join(f"**{told}**" for _, told in _tally(found)),
        markdown.table(
            ("experiment", "claim", "main effect (95 % interval)", "verdict", *(("in full",) if in_full else ())), rows
        ),
    ]
    for e, f, r in found:
        effects = (
            markdown.row((plain(effect.name), plain(_told(effect)), plain(effect.prediction), effect.judgement))
            for effect in f.effects
        )
        parts += [
            f"## {e.name}",
            markdown.filled(f"**{f.verdict}**. *Claim*: {plain(e.claim)}"),
            *(f"![{plain(chart.title)}]({name})" for name, chart in _charts(e, f)),
            markdown.table(("effect", "measured (95 % interval)", "claimed", "result"), effects),
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
        f"{_many(len(found), 'claim')}, tested: the criterion that would refute each is written down beside it, and "
        f"its verdict is computed from the effects. {_many(len(seconds), 'training')}, {_time(sum(seconds))}; models "
        "that several experiments share are trained once. An effect is a mean over seeds, with its 95 % interval by "
        "Student's t. Seeds differ in initial weights, in the order of images and, unless all are used, in the "
        "training images drawn; another number of threads acts like another seed. The test images are the same for "
        "all seeds, except for tables; another 10,000 test images of Fashion-MNIST would change a difference by about "
        "half a point as well. A claim holds if all intervals lie within the claimed bounds, holds with limits if that "
        "of the first, the main effect, does, and is refuted if that one lies entirely outside; otherwise it is "
        "undecided. Most criteria were written before the measurements, as the repository's history shows; a limit "
        "that was added later can only weaken a verdict."
    )


def is_quick(found: Sequence[Found]) -> bool:
    """Whether any of the results are of the quick study, so that the report starts with `QUICK`."""
    return any(record.quick for _, _, record in found)


def _limits(finding: Finding) -> Sequence[str]:
    """Of a claim that holds with limits: the effects that contradict it or are undecided."""
    if finding.verdict is not Verdict.LIMITS:
        return []
    return [f"{e.judgement}: {e.name}" for e in finding.effects if e.judgement is not Judgement.AS_CLAIMED]


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
    return [(verdict, f"{count} {_TOLD[verdict][count > 1]}") for verdict, count in counts.items() if count]


def _facts(experiment: Experiment, record: Record, made: _Made) -> Iterable[tuple[str, str]]:
    yield "Method", experiment.method
    yield "Held equal", experiment.held_equal
    yield "What would refute it", experiment.refuted_if
    yield "Caveats", experiment.beware
    trainings = [measured for (_, seed), measured in record.trainings.items() if seed in record.seeds]
    if trainings:
        keys = {each.key for each in trainings}
        own = [made[key][1] for key in keys if made[key][0] == experiment.name]
        others = sorted({made[key][0] for key in keys} - {experiment.name})
        parts = [f"{len(own)} of its own in {_time(sum(own))}"] if own else []
        parts += [f"{len(keys) - len(own)} shared with {', '.join(others)}"] if others else []
        told = f"{_many(len(keys), 'training')}, seeds 1 to {len(record.seeds)}"
        yield "Trainings", f"{told}: {'; '.join(parts)}"
    if record.observed:
        yield "Machine", "; ".join(sorted({each.machine for each in record.observed.values()}))


def _command(experiment: Experiment, record: Record) -> str:
    quick, usual = (" --quick", QUICK_SEEDS) if record.quick else ("", SEEDS)
    seeds = f" --seeds {len(record.seeds)}" if len(record.seeds) != usual else ""
    return f"zoo study {experiment.name}{quick}{seeds}"


def _told(effect: Effect) -> str:
    told = f"{effect.written(effect.mean)} {effect.unit}"
    return told if effect.exact else f"{told} ({' to '.join(map(effect.written, effect.interval))})"
