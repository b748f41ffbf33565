"""Workers that watch over each other, without a training: who is lost, how that is reported, and who isn't heard."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import psutil
import pytest
from processes import until
from workers import addresses

from pipelines.core.support.watched import WATCHED
from pipelines.training.parallel import heartbeat, watching
from pipelines.training.parallel.heartbeat import STRANGERS, Heartbeat, _hello, heartbeat_port
from pipelines.training.parallel.watching import LOST_ANOTHER, watch
from pipelines.training.parallel.workers import Cluster
from zoo.errors import ParallelError

FOREVER = "exec sleep 600"


@pytest.fixture
def hasty(monkeypatch):
    """Goodbyes that nobody waits for: several workers in one thread would wait for themselves."""
    monkeypatch.setattr(heartbeat, "GOODBYE", 0)


@pytest.fixture
def clusters():
    """The same three workers, as each of them sees them."""
    workers = tuple(addresses(3).split(","))
    return [Cluster(workers, index) for index in range(3)]


def _outcomes(clusters, commands, **settings):
    """What each worker that runs a shell command returns, or the sentence that it ends with."""

    def outcome(cluster, command):
        try:
            return watch(cluster, ["sh", "-c", command], Heartbeat(cluster, beat=0.1), **settings)
        except ParallelError as error:
            return str(error)

    with ThreadPoolExecutor(len(clusters)) as pool:
        return list(pool.map(outcome, clusters, commands))


def _sentence(what):
    return f"{what}: the same command, for all workers, continues from the last checkpoint"


def _gone(cluster, index):
    return _sentence(f"worker {index} ({cluster.workers[index]}) is gone")


# --- who is lost ---------------------------------------------------------------------------------------------------


def test_workers_that_end_well_do_not_take_each_other_for_lost(clusters):
    assert _outcomes(clusters, ["exit 0", "sleep 0.3", "exit 0"]) == [0, 0, 0]


@pytest.mark.parametrize("index", [0, 2])
@pytest.mark.parametrize(
    "end, own",
    [
        ("kill -KILL $$", "the process of worker {} was ended by signal 9 (Killed)"),
        ("kill -SEGV $$", "the process of worker {} was ended by signal 11 (Segmentation fault)"),
        (f"exit {LOST_ANOTHER}", "worker {} has lost another one, of {}"),
        ("exit 1", ""),  # it has said why
        ("exit 130", ""),
    ],
)
def test_a_worker_that_ends_in_any_other_way_ends_the_others_with_one_sentence(clusters, monkeypatch, index, end, own):
    monkeypatch.setattr(watching, "NEWS", 0.3)
    commands = [FOREVER, FOREVER, FOREVER]
    commands[index] = end
    before = set(psutil.Process().children())
    found = _outcomes(clusters, commands, grace=0.1)
    expected = [_gone(clusters[0], index)] * 3
    expected[index] = _sentence(own.format(index, clusters[index].others)) if own else int(end.split()[1])
    assert found == expected
    assert set(psutil.Process().children()) == before


@pytest.mark.parametrize("later", ["", "sleep 0.5; "])  # than the news that the other is gone
def test_a_process_that_crashes_because_another_is_lost_names_that_one(clusters, monkeypatch, later):
    """Both are gone at the same moment: what was killed from outside is the cause."""
    monkeypatch.setattr(watching, "NEWS", 60)  # they come at once, but on a busy machine
    found = _outcomes(
        clusters[:3], ["kill -SEGV $$", f"{later}kill -KILL $$", f"sleep 2; exit {LOST_ANOTHER}"], grace=60
    )
    assert found[0] == _gone(clusters[0], 1)
    assert "was ended by signal 9 (Killed)" in found[1]
    assert "is gone" in found[2]


def test_one_that_ends_by_itself_once_another_is_lost_has_said_why(clusters):
    found = _outcomes(clusters, ["sleep 0.5; exit 1", "exit 1", f"sleep 0.5; exit {LOST_ANOTHER}"], grace=60)
    assert found == [1, 1, _gone(clusters[0], 1)]


def test_one_that_is_through_when_another_is_lost_is_done(clusters):
    assert _outcomes(clusters, ["sleep 0.5", "exit 1", "sleep 0.5"], grace=60) == [0, 1, 0]


@pytest.mark.parametrize("silent", [0, 1])
@pytest.mark.usefixtures("hasty")
def test_a_worker_that_is_not_heard_of_is_lost(clusters, silent):
    """Its connection stays open, as that of a machine that was switched off."""
    with ExitStack() as held:
        all_three = _begun(clusters, held, beat=0.05, silence=0.5)
        others = [each for index, each in enumerate(all_three) if index != silent]
        until(lambda: [each.turn(0.01) for each in others] and all(each.lost is not None for each in others))
        assert [each.lost for each in others] == [silent, silent]


def _begun(clusters, held, **settings):
    found = [Heartbeat(cluster, **settings) for cluster in clusters]
    for each in found:
        held.callback(each.close, done=True)
    until(lambda: [each.turn(0.01) for each in found] and all(each.begun for each in found))
    return found


# --- who isn't heard -----------------------------------------------------------------------------------------------


def _strange(cluster):
    """What may come over a connection, and says nothing."""
    hello = _hello(cluster, 1)
    return [
        b"",
        b"\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"x" * 100_000,
        b"go\nlost 1\n",
        hello[:-1] + b"0\n",
        hello[:-1] + b"3\n",
        hello[:-1] + b"-1\n",
        hello.replace(b"zoo ", b"zoo 0"),
        _hello(Cluster(("a:1", "b:2", "c:3"), 1), 1) + b"\n",
        hello[:40],
        b"\xff\x00\n",
    ]


@pytest.mark.usefixtures("hasty")
def test_whoever_is_none_of_them_is_not_heard(clusters):
    with ExitStack() as held:
        chief = Heartbeat(clusters[0])
        held.callback(chief.close, done=True)
        address = ("127.0.0.1", heartbeat_port(clusters[0]))
        for text in _strange(clusters[1]):
            with socket.create_connection(address) as stranger, suppress(OSError):  # it may hang up meanwhile
                stranger.sendall(text)
            chief.turn(0.05)
        waiting = [held.enter_context(socket.create_connection(address)) for _ in range(2 * STRANGERS)]
        others = [Heartbeat(cluster) for cluster in clusters[1:]]
        for each in others:
            held.callback(each.close, done=True)
        until(lambda: [each.turn(0.01) for each in (chief, *others)] and all(each.begun for each in (chief, *others)))
        for text in _strange(clusters[1]):
            with socket.create_connection(address) as stranger, suppress(OSError):
                stranger.sendall(text)
            for each in (chief, *others):
                each.turn(0.02)
        assert [each.lost for each in (chief, *others)] == [None, None, None]
        assert len(waiting) == 2 * STRANGERS


@pytest.mark.usefixtures("hasty")
def test_one_that_was_started_again_before_its_loss_was_noticed_is_lost(clusters):
    with ExitStack() as held:
        chief, first, second = _begun(clusters, held)
        again = Heartbeat(clusters[1])
        held.callback(again.close, done=True)
        until(lambda: [each.turn(0.01) for each in (chief, second, again)] and second.lost is not None)
        assert (chief.lost, second.lost, again.begun) == (1, 1, False)
        assert first.lost is None  # which is gone


@pytest.mark.usefixtures("hasty")
def test_a_worker_that_was_started_with_other_addresses_ends_with_one_sentence(clusters):
    first = clusters[0].workers[0]
    chief, other, second = Cluster((first, "b:2"), 0), Cluster((first, "c:2"), 1), Cluster((first, "b:2"), 1)
    with ExitStack() as held:
        chief, other, second = Heartbeat(chief), Heartbeat(other), Heartbeat(second)
        for each in (chief, other, second):
            held.callback(each.close, done=False)
        with pytest.raises(ParallelError) as refused:
            for _ in range(100):
                other.turn(0.01)
                chief.turn(0.01)
        assert str(refused.value) == f"worker 0 ({first}) was started with other --workers: start all with the same"
        until(lambda: [each.turn(0.01) for each in (chief, second)] and chief.begun and second.begun)


@pytest.mark.usefixtures("hasty")
def test_whoever_does_not_speak_as_a_worker_gets_no_answer(clusters):
    with ExitStack() as held:
        chief = Heartbeat(clusters[0])
        held.callback(chief.close, done=False)
        for text in (b"\n", b"GET / HTTP/1.1\n", b"zoo\n", b"zoo " + b"f" * 63 + b" 1\n"):
            stranger = held.enter_context(socket.create_connection(("127.0.0.1", heartbeat_port(clusters[0]))))
            stranger.sendall(text)
            stranger.settimeout(60)
            until(lambda: chief.turn(0.01) or not chief._strangers)
            assert stranger.recv(100) == b""


@pytest.mark.usefixtures("hasty")
def test_a_worker_that_is_turned_away_waits_before_it_calls_again(clusters, monkeypatch):
    with ExitStack() as held:
        door = held.enter_context(socket.create_server(("127.0.0.1", heartbeat_port(clusters[0]))))
        door.settimeout(0)
        worker = Heartbeat(clusters[1])
        held.callback(worker.close, done=False)
        calls = []
        for pause in (600, 0):
            monkeypatch.setattr(heartbeat, "PAUSE", pause)
            calls.append(0)
            for _ in range(20):
                worker.turn(0.005)
                with suppress(BlockingIOError):
                    door.accept()[0].close()
                    calls[-1] += 1
        assert calls[0] == 1
        assert calls[1] > 1


@pytest.mark.parametrize("message", [b"pardon\n", b"lost\n", b"lost 99\n", b"lost x\n", b"x" * 1000])
@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.usefixtures("hasty")
def test_a_worker_that_says_something_else_is_lost(clusters, message, index):
    with ExitStack() as held:
        three = _begun(clusters, held)
        for line in three[index]._others.values():
            line.socket.sendall(message)
        others = [each for place, each in enumerate(three) if place != index]
        until(lambda: [each.turn(0.01) for each in others] and all(each.lost == index for each in others))


# --- where worker 0 listens ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "workers, port",
    [
        (("a:1000", "b:2000"), 1001),
        (("a:1000", "a:1001"), 1002),
        (("a:1000", "a:3000", "b:4000"), 3001),
        (("[::1]:1000", "[::1]:7"), 1001),
    ],
)
def test_worker_0_listens_after_the_ports_of_its_host(workers, port):
    assert heartbeat_port(Cluster(workers, 0)) == port


def test_a_port_that_can_not_be_had_is_refused(clusters):
    with pytest.raises(ParallelError, match="worker 0 needs the port after 65535, too"):
        heartbeat_port(Cluster(("a:65535", "b:1"), 1))
    port = heartbeat_port(clusters[0])
    with socket.create_server(("127.0.0.1", port)), pytest.raises(ParallelError, match=rf"^port {port} of worker 0"):
        Heartbeat(clusters[0])


# --- the process that watches, and the one that is watched ----------------------------------------------------------

WATCHER = """
import sys
from pipelines.training.parallel.watching import watch
from pipelines.training.parallel.workers import Cluster
sys.exit(watch(Cluster(tuple(sys.argv[1].split(",")), 0), [sys.executable, "-c", sys.argv[2]]))
"""
CHILD = """
import os, signal, time
from pipelines.core.support.watched import end_with_watcher
signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs tests in the background ignores it
end_with_watcher()
try:
    print(os.getpid(), flush=True)
    time.sleep(600)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    os._exit(130)
"""


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.usefixtures("hasty")
def test_neither_process_outlives_the_other(clusters, by):
    two = [Cluster(cluster.workers[:2], cluster.index) for cluster in clusters[:2]]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", WATCHER, ",".join(two[0].workers), CHILD]
    with ExitStack() as held:
        watcher = held.enter_context(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        held.callback(watcher.kill)
        other = Heartbeat(two[1])
        held.callback(other.close, done=True)
        ended = threading.Event()
        held.callback(ended.set)
        until(lambda: other.turn(0.01) or other.begun)
        child = psutil.Process(int(watcher.stdout.readline()))
        watcher.send_signal(by)
        until(lambda: other.turn(0.01) or other.lost is not None)
        assert watcher.wait(60) == (130 if by == signal.SIGINT else -by)
        child.wait(60)
        assert watcher.stdout.read() == ("interrupted\n" if by == signal.SIGINT else "")
        assert other.lost == 0


FAILING = """
import threading, sys
from pipelines.core.support.watched import failing_at_once
threading.Thread(target=threading.Event().wait).start()  # Python waits for it
def command():
    print("said")
    if len(sys.argv) > 1:
        raise RuntimeError("a bug")
    return 3
failing_at_once(command)
"""


@pytest.mark.parametrize("words, code, error", [([], 3, ""), (["bug"], 1, "RuntimeError: a bug")])
def test_a_watched_process_that_fails_waits_for_nothing(words, code, error):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), WATCHED: "1"}
    done = subprocess.run(
        [sys.executable, "-c", FAILING, *words], env=environment, capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stdout) == (code, "said\n")
    assert error in done.stderr
