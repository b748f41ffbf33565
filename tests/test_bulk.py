"""`zoo predict --out` that is killed, whose processes are killed, and of an export that says more of each image."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import dying
import onnx
import psutil
import pyarrow.parquet
import pytest

import zoo
from pipelines.cli import main
from pipelines.inference.bulk import predict_all as job
from pipelines.inference.bulk import processes
from pipelines.inference.bulk.predict_all import predict_all
from pipelines.inference.bulk.processes import Asking, digest_of, in_order
from zoo.contract import Metadata
from zoo.data.unlabeled import Unread
from zoo.errors import ImageError, InputError

ROOT = Path(__file__).parent.parent
EXPORT = ROOT / "exports" / "digits" / "softmax"
SAMPLES = [EXPORT / "samples" / f"{k}.png" for k in range(10)]
IMAGES = 42  # ten chunks of four, and half of one


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def table():
    """Names of images, of which one can't be read."""
    for file in SAMPLES:
        shutil.copy(file, file.name)
    Path("bad.png").write_text("milk")
    names = ["bad.png" if k == 17 else f"{k % 10}.png" for k in range(IMAGES)]
    Path("table.csv").write_text("\n".join(["path", *names]))
    return names


def run(out, paths=("table.csv",), **options):
    return predict_all(EXPORT, paths, Path(out), **{"processes": 1, **options})


def content(out):
    return pyarrow.parquet.read_table(out).to_pylist() if str(out).endswith(".parquet") else Path(out).read_bytes()


def resumed_after_a_kill(moment, kind, count, monkeypatch):
    dying.small_steps(monkeypatch.setattr)
    run(f"whole{kind}")
    out = f"answers{kind}"
    words = [str(EXPORT), "table.csv", "--out", out, "--processes", str(count)]
    assert dying.killed(*moment, words) == -signal.SIGKILL
    assert not Path(out).exists() or moment[1] in ("finish", "sync")
    if (lines := Path(f"{out}.partial")).exists():
        with lines.open("ab") as file:
            file.write(b'"torn')  # what a disk may hold of what was never synced
    found = run(out)
    assert (found.images, found.unreadable) == (IMAGES, 1)
    assert content(out) == content(f"whole{kind}")
    kept = {path.name for path in Path().glob("*answers*") if ".lock" not in path.name}
    assert kept - {f"{out}.job.json", out} <= {path.name for path in Path().glob("*.partial-*")}
    return found


def test_a_job_of_two_processes_that_is_killed_goes_on_to_the_same_bytes(table, monkeypatch):
    found = resumed_after_a_kill(("job", "save", 4, "after"), ".csv", 2, monkeypatch)
    assert found.resumed == 3 * dying.CHUNK


MOMENTS = [
    ("job", "_looked_at", 1, "after"),
    ("job", "sync", 1, "before"),
    ("job", "sync", 3, "after"),
    ("job", "save", 1, "before"),
    ("job", "save", 5, "after"),
    ("job", "save", 12, "after"),
    ("job", "save", 13, "before"),  # the one that says that all is answered
    ("job", "finish", 1, "before"),
    ("job", "finish", 1, "after"),
    ("answers", "sync", 1, "before"),
]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize(
    "moment", [*MOMENTS, ("answers", "_write_parquet", 1, "after")], ids=lambda m: "-".join(map(str, m))
)
def test_a_job_that_is_killed_at_any_moment_goes_on_to_the_same_file(table, moment, kind, monkeypatch):
    """Slow: a process for each."""
    if moment[1] == "_write_parquet" and kind != ".parquet":
        pytest.skip("writes no Parquet")
    resumed_after_a_kill(moment, kind, 1, monkeypatch)


@pytest.mark.slow
def test_a_command_that_is_killed_three_times_writes_each_row_once_and_leaves_no_process(table):
    """Slow: thousands of images, until it has been killed three times."""
    names = [f"{k % 10}.png" for k in range(6_000)]
    Path("table.csv").write_text("\n".join(["path", *names]))
    script = "from pipelines.inference.bulk import predict_all as job; job.SECONDS = 0.5\nimport sys\n"
    script += "from pipelines.cli import main\nif __name__ == '__main__': sys.exit(main())"
    Path("program.py").write_text(script)
    command = [sys.executable, "program.py", "predict", str(EXPORT), "table.csv", "--out", "answers.jsonl"]
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    before = 0
    for _ in range(3):
        process = subprocess.Popen([*command, "--processes", "2"], env=paths)
        while state("answers.jsonl") <= before:
            assert process.poll() is None
            time.sleep(0.05)
        before = state("answers.jsonl")
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 2
        process.kill()
        process.wait()
        assert not psutil.wait_procs(children, timeout=60)[1]
    assert not Path("answers.jsonl").exists()
    subprocess.run(command, env=paths, check=True)
    rows = [json.loads(line) for line in Path("answers.jsonl").read_text().splitlines()]
    assert [row["path"] for row in rows] == names
    assert {row["label"] for row in rows[3::10]} == {"3"}


def state(out):
    try:
        return json.loads(Path(f"{out}.job.json").read_text())["images"]
    except FileNotFoundError:
        return 0


def test_what_is_left_of_a_job_is_not_taken_for_that_of_another(table, monkeypatch):
    dying.small_steps(monkeypatch.setattr)
    with monkeypatch.context() as change, pytest.raises(LookupError):
        saves = itertools.count()
        saving = job.save
        change.setattr(job, "save", lambda *said: saving(*said) if next(saves) < 4 else interrupt())
        run("answers.csv")
    assert state("answers.csv") == 12
    before = {path.name: path.read_bytes() for path in Path().glob("answers*")}
    with pytest.raises(
        InputError, match="belongs to another job, which differs in its options: choose another file with --out"
    ):
        run("answers.csv", precision="float32", images=Path())
    assert {path.name: path.read_bytes() for path in Path().glob("answers*")} == before
    lines = Path("answers.csv.partial")
    lines.write_bytes(lines.read_bytes()[:100])
    with pytest.raises(InputError, match=r"answers\.csv\.partial is shorter than what its job wrote: remove"):
        run("answers.csv")


def interrupt():
    raise LookupError


def test_a_file_that_others_have_put_there_meanwhile_is_not_overwritten(table, monkeypatch):
    dying.small_steps(monkeypatch.setattr)
    with monkeypatch.context() as change:
        saving = job.save

        def save(state, out):
            saving(state, out)
            if state.images == 8:
                out.write_text("of others")

        change.setattr(job, "save", save)
        sentence = r"answers\.csv exists, but its job isn't finished: move it"
        for _ in range(2):
            with pytest.raises(InputError, match=sentence):
                run("answers.csv")
    assert Path("answers.csv").read_text() == "of others"
    Path("answers.csv").unlink()
    assert run("answers.csv").resumed == IMAGES
    run("whole.csv")
    assert content("answers.csv") == content("whole.csv")


def test_a_disk_that_fails_is_named_whether_it_is_read_or_written(table, monkeypatch):
    dying.small_steps(monkeypatch.setattr)

    def failing(*given, **named):
        if named.get("skip") == 0:  # the second time: to answer them
            yield from itertools.islice(listed(*given, **named), 9)
            raise OSError(errno.EIO, "Input/output error", "table.csv")
        yield from listed(*given, **named)

    with monkeypatch.context() as change:
        listed = job.unlabeled_images
        change.setattr(job, "unlabeled_images", failing)
        with pytest.raises(InputError, match=r"^table\.csv can't be read any more \(Input/output error\): the same"):
            run("answers.csv")
    assert state("answers.csv") == 8
    with monkeypatch.context() as change:
        change.setattr(job, "sync", full)
        with pytest.raises(InputError, match=r"^answers\.csv can't be written \(No space left on device\): the same"):
            run("answers.csv")
    assert run("answers.csv").resumed == 8
    run("whole.csv")
    assert content("answers.csv") == content("whole.csv")


def full(_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_what_is_interrupted_is_kept_to_the_last_chunk_and_says_so(table, monkeypatch, capsys):
    monkeypatch.setattr(job, "CHUNK", 4)
    after = job.State.after
    counted = itertools.count(1)

    def until(self, *more):
        if next(counted) == 6:
            raise KeyboardInterrupt
        return after(self, *more)

    words = ["predict", str(EXPORT), "table.csv", "--out", "answers.csv", "--processes", "1"]
    with monkeypatch.context() as change:
        change.setattr(job.State, "after", until)
        assert main(words) == 130
    assert "interrupted after 20 images: the same command continues" in capsys.readouterr().err
    assert run("answers.csv").resumed == 20


def test_links_that_are_followed_make_another_job(table):
    run("answers.csv")
    with pytest.raises(InputError, match="belongs to another job, which differs in its options"):
        run("answers.csv", follow_links=True)


def test_who_wants_no_unreadable_image_is_not_content_with_a_job_that_has_one(table):
    assert run("answers.csv").unreadable == 1
    with pytest.raises(ImageError, match=r"bad\.png"):
        run("answers.csv", on_bad="fail")


# --- processes that end ----------------------------------------------------------------------------------------------


def asking(**changes):
    columns = ("path", "label", "probability", "error")
    known = Asking(
        str(EXPORT), digest_of(EXPORT, "float32"), "cpu", 1, "float32", None, False, "skip", ".jsonl", columns
    )
    return replace(known, **changes)


def images(*names):
    return [Unread(name, EXPORT / "samples" / name) for name in names]


@pytest.mark.slow
def test_an_image_that_ends_its_process_costs_its_own_row_alone():
    """Slow: nine processes are started, one after the other."""
    chunks = [images("0.png", "1.png"), [*images("2.png"), dying.Deadly("dead.png")], images("3.png"), images("4.png")]
    found = list(in_order(asking(), iter(chunks), 2))
    rows = [json.loads(line) for part in found for line in part.lines.splitlines()]
    assert [row["label"] for row in rows] == ["0", "1", "2", None, "3", "4"]
    assert (
        rows[3]["error"]
        == "dead.png ended the process that read it, which was killed or crashed: look at it, or leave it out"
    )
    assert [part.unreadable for part in found] == [0, 1, 0, 0]
    with pytest.raises(ImageError, match=r"dead\.png ended the process that read it"):
        list(in_order(asking(on_bad="fail"), [[dying.Deadly("dead.png")]], 2))


@pytest.mark.slow
def test_a_small_job_that_an_image_has_ended_goes_on_past_it(table, monkeypatch):
    """Slow: processes are started. The images of one chunk are read by the command itself, at first."""
    monkeypatch.setattr(job, "unlabeled_images", lambda *_, **__: iter([*images("0.png"), dying.Deadly("dead.png")]))
    Path("answers.csv.job.json").touch()
    monkeypatch.setattr(job, "resume", lambda asked, out: job.State(asked))  # of a call that was killed
    found = run("answers.csv", processes=None)
    assert (found.images, found.unreadable) == (2, 1)
    assert "dead.png ended the process that read it" in found.error


@pytest.mark.slow
def test_where_every_image_ends_its_process_it_is_not_the_images(monkeypatch):
    """Slow: processes are started, one after the other."""
    monkeypatch.setattr(processes, "MOST_CRASHES", 2)
    with pytest.raises(
        InputError, match=r"2 processes that read one image each were killed or crashed, the last with b\.png"
    ):
        list(in_order(asking(), [[dying.Deadly("a.png"), dying.Deadly("b.png")]], 2))


@pytest.mark.slow
def test_a_program_without_a_main_of_its_own_is_told_so(table):
    """Slow: a program is started, which starts others."""
    Path("program.py").write_text(
        "from pathlib import Path\nfrom pipelines.inference.bulk.predict_all import predict_all\n"
        f"predict_all({str(EXPORT)!r}, ['table.csv'] * 10, Path('answers.csv'), processes=2)"
    )
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "program.py"], env=paths, check=False, capture_output=True, text=True)
    assert 'call this below `if __name__ == "__main__":`, or use one process' in done.stderr


def test_an_export_that_is_replaced_meanwhile_ends_the_job():
    with pytest.raises(
        zoo.ExportError, match="was replaced in the meantime: start again, so that all predictions are of one file"
    ):
        list(in_order(asking(digest="of another"), [images("0.png")], 1))


# --- an export that says more ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saying(tmp_path_factory):
    """A file with familiarity, and with sets that often hold several labels."""
    model = onnx.load(EXPORT / "model.onnx")
    metadata = Metadata.from_properties({p.key: p.value for p in model.metadata_props}, "model")
    assert metadata.familiarity
    sets = {**metadata.sets, "thresholds": {"0.90": 0.1}, "by_class": {}}
    onnx.helper.set_model_props(model, replace(metadata, sets=sets).to_properties())
    file = tmp_path_factory.mktemp("saying") / "model.onnx"
    onnx.save(model, file)
    return file


@pytest.mark.parametrize("kind", [".csv", ".jsonl", ".parquet"])
def test_familiarity_and_sets_are_written_where_the_file_has_them(saying, table, kind):
    found = predict_all(saying, ["table.csv"], Path(f"answers{kind}"), coverage=0.9, processes=1)
    assert found.columns == ("path", "label", "probability", "familiarity", "known", "labels", "error")
    classifier = zoo.load(saying)
    expected = {name: None if name == "bad.png" else classifier.predict(name, coverage=0.9) for name in set(table)}
    rows = rows_of(Path(f"answers{kind}"))
    assert [row["path"] for row in rows] == table
    for row in rows:
        answer = expected[row["path"]]
        if answer is None:
            assert row["error"] and [row[name] for name in found.columns[1:-1]] == [None] * 5
        else:
            assert (row["label"], row["known"], tuple(row["labels"])) == (answer.label, answer.known, answer.labels)
            assert row["familiarity"] == pytest.approx(answer.familiarity, abs=1e-5)


def rows_of(out):
    """In the types of JSON, which the cells of a CSV hold."""
    if out.suffix == ".parquet":
        return content(out)
    if out.suffix == ".jsonl":
        return [json.loads(line) for line in out.read_text().splitlines()]
    import csv

    text = ("label", "error", "path")
    return [
        {name: (cell if name in text else json.loads(cell)) if cell else None for name, cell in row.items()}
        for row in csv.DictReader(out.read_text().splitlines())
    ]
