"""`zoo predict --out --ray`: the answers of one process, on a real cluster of two nodes whose workers are killed."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pyarrow
import pyarrow.parquet
import pytest

from pipelines.cli import main
from pipelines.inference.bulk.predict_all import predict_all
from zoo.errors import InputError, MissingExtraError

ROOT = Path(__file__).parent.parent
EXPORT = ROOT / "exports" / "digits" / "softmax"
ACTOR = "ray::MapWorker(MapBatches(_Answering))"
SMALL = "from pipelines.inference.bulk import predict_all as job; job.CHUNK = 4; job.SECONDS = 0\n"
# Who runs tests in the background ignores Ctrl-C, and so does all that is started from there.
INTERRUPTIBLE = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
COMMAND = "import sys; from pipelines.cli import main\nif __name__ == '__main__': sys.exit(main())"

pytestmark = pytest.mark.timeout(1800)  # on a machine that has other things to do, Ray starts for minutes


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def images(count):
    """Names of digits, of which one can't be read; they lie in the folder `images`."""
    Path("images").mkdir()
    names = [f"{k:04}.png" for k in range(count)]
    for k, name in enumerate(names):
        shutil.copy(EXPORT / "samples" / f"{k % 10}.png", f"images/{name}")
    Path("images", names[17]).write_text("milk")
    return names


# --- without a cluster -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address, sentence",
    [
        ("", "a Ray cluster is local or HOST:PORT, as `ray start --head` prints it, received ''"),
        ("auto", "a Ray cluster is local or HOST:PORT, .* received 'auto'"),
        ("ray://head:10001", "a Ray cluster is local or HOST:PORT, .* received 'ray://head:10001'"),
        ("head:99999", "a Ray cluster is local or HOST:PORT, .* received 'head:99999'"),
    ],
)
def test_an_address_that_is_none_is_refused_before_anything_is_read(address, sentence):
    with pytest.raises(InputError, match=sentence):
        predict_all("nothing", ["nothing"], Path("answers.csv"), ray=address)
    assert not list(Path().iterdir())


@pytest.mark.parametrize("address", ["local", "127.0.0.1:6379"])
@pytest.mark.parametrize("package", ["ray", "pandas", "pyarrow"])
def test_a_missing_extra_is_said_before_anything_is_read(package, address, monkeypatch):
    names = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER")
    monkeypatch.setattr(os, "environ", {**os.environ, **dict.fromkeys(names, "0")})
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    monkeypatch.setitem(sys.modules, package, None)  # as Python itself marks a package that isn't to be found
    if package != "ray":
        monkeypatch.setitem(sys.modules, "ray", pytest)  # which isn't asked for anything
    with pytest.raises(MissingExtraError, match=rf"^{package} is not installed: pip install '.*\[ray\]'$"):
        predict_all("nothing", ["nothing"], Path("answers.csv"), ray=address)


def test_ray_goes_with_out(capsys):
    with pytest.raises(SystemExit):
        main(["predict", str(EXPORT), "image.png", "--ray", "local"])
    assert "--processes, --ray, --images, and --follow-links require --out" in capsys.readouterr().err


# --- a cluster of two nodes ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """What a command and a cluster on the loopback interface share: a token that no file holds."""
    pytest.importorskip("ray.data", reason="needs the extra ray")
    return {
        **os.environ,
        "HOME": str(tmp_path_factory.mktemp("home")),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }


@contextmanager
def cluster_in(environment):
    """The address of one that lives until the block ends."""
    command = [sys.executable, str(Path(__file__).with_name("ray_of_two.py"))]
    with subprocess.Popen(command, env=environment, stdin=-1, stdout=-1, stderr=subprocess.DEVNULL) as process:
        yield process.stdout.readline().decode().strip()
        process.stdin.close()
        process.wait(60)


@pytest.fixture(scope="module")
def cluster(environment):
    with cluster_in(environment) as address:
        yield address


def asked(paths, out, address, environment, begin=""):
    """A command that has begun. begin: what its program does first."""
    program = Path("program.py")
    program.write_text(begin + COMMAND)
    command = [sys.executable, "program.py", "predict", str(EXPORT), *paths, "--out", out, "--ray", address]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def answered(out):
    try:
        return json.loads(Path(f"{out}.job.json").read_text())["images"]
    except FileNotFoundError:
        return 0


def actors():
    """Those of this test's cluster, and not of another on the machine."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if " ".join(process.info["cmdline"] or []).startswith(ACTOR) and process.cwd() == str(Path.cwd()):
            found.append(process)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "table", "shards", "parquet"])
def test_answers_on_two_nodes_are_those_of_one_process(kind, cluster, environment):
    """Slow: a cluster and a command."""
    names = images(300)
    if kind == "folder":
        paths = ["images"]
    elif kind == "table":
        Path("table.csv").write_text("\n".join(["path", *(f"images/{name}" for name in names), "images/none.png"]))
        paths = ["table.csv"]
    elif kind == "shards":
        for number in range(3):
            with tarfile.open(f"part-{number}.tar", "w") as shard:
                for name in names[number::3]:
                    shard.add(f"images/{name}", name)
        paths = ["part-*.tar"]
    else:
        content = [Path("images", name).read_bytes() for name in names]
        pyarrow.parquet.write_table(pyarrow.table({"path": names, "image": content}), "images.parquet")
        paths = ["images.parquet", "images/0001.png"]
    predict_all(EXPORT, paths, Path("one.csv"), processes=1)
    command = asked(paths, "ray.csv", cluster, environment)
    said, _ = command.communicate()
    assert command.returncode == 0, said
    assert Path("ray.csv").read_bytes() == Path("one.csv").read_bytes()
    assert "ray" not in said.replace("ray.csv", "").lower()  # nothing of its inner life


@pytest.mark.slow
def test_workers_that_are_killed_cost_nothing(cluster, environment):
    """Slow: a cluster, and thousands of images."""
    images(2_000)
    predict_all(EXPORT, ["images"], Path("one.csv"), processes=1)
    command = asked(["images"], "ray.csv", cluster, environment, SMALL)
    killed = set()
    for least in (100, 500):
        while answered("ray.csv") < least or not (left := [each for each in actors() if each.pid not in killed]):
            assert command.poll() is None, command.communicate()[0]
            time.sleep(0.05)
        left[0].kill()
        killed.add(left[0].pid)
    said, _ = command.communicate()
    assert command.returncode == 0, said
    assert len(killed) == 2
    assert Path("ray.csv").read_bytes() == Path("one.csv").read_bytes()


@pytest.mark.slow
def test_a_command_that_is_killed_goes_on_without_ray(cluster, environment):
    """Slow: a cluster, and thousands of images."""
    images(2_000)
    predict_all(EXPORT, ["images"], Path("one.csv"), processes=1)
    command = asked(["images"], "ray.csv", cluster, environment, SMALL)
    while answered("ray.csv") < 200:
        assert command.poll() is None, command.communicate()[0]
        time.sleep(0.05)
    command.kill()
    command.communicate()
    found = predict_all(EXPORT, ["images"], Path("ray.csv"), processes=1)
    assert 200 <= found.resumed < 2_000
    assert Path("ray.csv").read_bytes() == Path("one.csv").read_bytes()


DEADLY = """
import json, sys
from pathlib import Path
sys.path.insert(0, TESTS)
import dying
from pipelines.inference.bulk.processes import Asking, digest_of
from pipelines.inference.bulk.ray_cluster import connected
from zoo.data.unlabeled import Unread

samples = Path(EXPORT) / "samples"
columns = ("path", "label", "probability", "error")
asking = Asking(EXPORT, digest_of(Path(EXPORT), "float32"), "cpu", 1, "float32", None, False, "skip", ".jsonl", columns)

def chunks():
    for k in range(6):
        yield [Unread(f"{k}.png", samples / f"{k}.png"), *([dying.Deadly("dead.png")] if k == 2 else [])]

if __name__ == "__main__":
    with connected(ADDRESS, 2):
        from pipelines.inference.bulk.ray_data import answered_on_ray
        found = list(answered_on_ray(asking, chunks, None))
    for part in found:
        sys.stdout.write(part.lines.decode())
"""


@pytest.mark.slow
def test_an_image_that_ends_whoever_reads_it_costs_its_own_row(cluster, environment):
    """Slow: a cluster whose workers end."""
    known = {"TESTS": str(Path(__file__).parent), "EXPORT": str(EXPORT), "ADDRESS": cluster}
    Path("deadly.py").write_text("".join(f"{name} = {value!r}\n" for name, value in known.items()) + DEADLY)
    done = subprocess.run([sys.executable, "deadly.py"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["label"] for row in rows] == ["0", "1", "2", None, "3", "4", "5"]
    assert {row["error"] for row in rows if row["path"] == "dead.png"} == {
        "dead.png ended the process that read it, which was killed or crashed: look at it, or leave it out"
    }


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["another token", "no token", "no cluster"])
def test_a_cluster_that_cannot_be_joined_is_one_sentence(mode, cluster, environment):
    """Slow: Ray asks for a while."""
    images(20)
    changed = dict(environment)
    if mode == "another token":
        changed["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    elif mode == "no token":
        del changed["RAY_AUTH_TOKEN"]
    command = asked(["images"], "ray.csv", "127.0.0.1:1" if mode == "no cluster" else cluster, changed)
    said, _ = command.communicate()
    assert command.returncode == 1
    assert len(said.splitlines()) == 1, said
    sentence = "no Ray cluster answers at" if mode == "no cluster" else "and with its token in RAY_AUTH_TOKEN "
    assert sentence in said


@pytest.mark.slow
def test_a_token_in_its_file_is_as_good(cluster, environment):
    """Slow: a cluster and a command."""
    images(20)
    known = dict(environment)
    file = Path("home", ".ray", "auth_token")
    file.parent.mkdir(parents=True)
    file.write_text(known.pop("RAY_AUTH_TOKEN"))
    command = asked(["images"], "ray.csv", cluster, {**known, "HOME": str(Path("home").absolute())})
    said, _ = command.communicate()
    assert command.returncode == 0, said
    assert answered("ray.csv") == 20


@pytest.mark.slow
def test_a_cluster_that_asks_for_no_token_is_refused_unless_that_is_said(environment):
    """Slow: a cluster of its own, and commands."""
    images(20)
    predict_all(EXPORT, ["images"], Path("one.csv"), processes=1)
    as_it_is = {**environment, "RAY_AUTH_MODE": "disabled"}
    with cluster_in(as_it_is) as address:
        command = asked(["images"], "ray.csv", address, environment)
        said, _ = command.communicate()
        assert command.returncode == 1
        assert f"zoo: the Ray cluster at {address} asks for no token, so that whoever reaches it may run any" in said
        assert len(said.splitlines()) == 1, said
        command = asked(["images"], "ray.csv", address, as_it_is)
        said, _ = command.communicate()
    assert command.returncode == 0, said
    assert Path("ray.csv").read_bytes() == Path("one.csv").read_bytes()


@pytest.mark.slow
def test_what_listens_and_is_no_cluster_is_one_sentence(environment):
    """Slow: Ray asks for a while."""
    images(20)
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        command = asked(["images"], "ray.csv", address, environment)
        said, _ = command.communicate()
    assert command.returncode == 1
    assert f"zoo: the Ray cluster at {address} can't be joined (ray.exceptions.RpcError: Timed out" in said
    assert len(said.splitlines()) == 1, said


# --- a cluster of this machine ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_cluster_of_this_machine_listens_on_the_loopback_alone_and_ends_with_its_job(environment):
    """Slow: Ray starts."""
    names = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER")
    bare = {name: value for name, value in environment.items() if name not in names}
    images(2_000)
    predict_all(EXPORT, ["images"], Path("one.csv"), processes=1)
    command = asked(["images"], "ray.csv", "local", bare, SMALL)
    while answered("ray.csv") < 100:
        assert command.poll() is None, command.communicate()[0]
        time.sleep(0.05)
    every = [psutil.Process(command.pid), *psutil.Process(command.pid).children(recursive=True)]
    tokens, listening = set(), set()
    for process in every:
        listening |= {each.laddr.ip for each in process.net_connections() if each.status == psutil.CONN_LISTEN}
        if "raylet" in process.name() or "gcs_server" in process.name():
            tokens.add((process.environ()["RAY_AUTH_MODE"], len(process.environ()["RAY_AUTH_TOKEN"])))
    assert listening and listening <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
    assert tokens == {("token", 64)}
    assert not Path(environment["HOME"], ".ray").exists()
    said, _ = command.communicate()
    assert command.returncode == 0, said
    assert Path("ray.csv").read_bytes() == Path("one.csv").read_bytes()
    assert not psutil.wait_procs(every[1:], timeout=60)[1]


@pytest.mark.slow
def test_an_interrupted_job_says_how_far_it_is(environment):
    """Slow: Ray starts."""
    images(2_000)  # and each five times, so that it is interrupted before its end
    command = asked(["images"] * 5, "ray.csv", "local", environment, INTERRUPTIBLE + SMALL)
    while answered("ray.csv") < 100:
        assert command.poll() is None, command.communicate()[0]
        time.sleep(0.05)
    command.send_signal(signal.SIGINT)
    said, _ = command.communicate()
    assert command.returncode == 130, said
    assert "the same command continues" in said
