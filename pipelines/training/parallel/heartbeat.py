"""A sign of life from each worker, beside TensorFlow's collectives: these may wait forever for a worker that is gone.

Worker 0 listens on a port of its own. The others connect and say who they are; once all are there, it tells them to
begin. From then on both sides give a sign of life every few seconds. Where a connection ends without a goodbye, or
nothing is heard for a minute, that worker is lost, and worker 0 tells all others.

Messages are lines of ASCII. Whoever doesn't begin with the line that follows from the workers' addresses isn't heard,
and a worker that was started with other addresses gets to know it. That keeps out what connects by mistake, and no
attacker: TensorFlow's own ports are open to whoever reaches them.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
import selectors
import socket
from contextlib import suppress
from functools import partial
from math import inf
from time import monotonic, sleep

from pipelines.training.parallel.workers import Cluster
from zoo.errors import ParallelError

BEAT = 5.0  # seconds between two signs of life
SILENCE = 60.0  # seconds without one until a worker counts as lost: machines are busy at times, and lose packets
PAUSE = 1.0  # seconds from one call of worker 0 to the next, where it isn't there or hangs up
HELLO = 10.0  # seconds in which whoever connects has to say who it is
GOODBYE = 3.0  # seconds to wait, at the end, until the last message has arrived
LONGEST = 128  # bytes of a line
STRANGERS = 16  # connections, at most, that haven't said who they are

GO, ALIVE, DONE, LOST, REFUSED = b"go", b"alive", b"done", b"lost", b"refused"
_A_HELLO = re.compile(rb"zoo [0-9a-f]{64} [0-9]+")  # of a worker, whichever its addresses


def heartbeat_port(cluster: Cluster) -> int:
    """Where worker 0 listens: after the highest port named for its host. Raises ParallelError where there is none."""
    host, _, _ = cluster.workers[0].rpartition(":")
    ports = [int(address.rpartition(":")[2]) for address in cluster.workers if address.rpartition(":")[0] == host]
    if (port := max(ports) + 1) > 65535:
        raise ParallelError(f"worker 0 needs the port after {port - 1}, too, and there is none: choose lower ones")
    return port


class Heartbeat:
    """A worker's connection to worker 0, or worker 0's to all others. Nothing happens but in `turn`.

    beat, silence: seconds. Raises ParallelError where worker 0 can't open its port.
    """

    def __init__(self, cluster: Cluster, *, beat: float = BEAT, silence: float = SILENCE) -> None:
        self.begun = False  # whether all have been there
        self.lost: int | None = None  # the worker that is gone since then
        self._cluster, self._beat, self._silence = cluster, beat, silence
        self._place = cluster.workers[0].rpartition(":")[0].strip("[]"), heartbeat_port(cluster)
        self._others: dict[int, _Line] = {}
        self._strangers: list[_Line] = []
        self._beaten, self._called = monotonic(), -inf
        self._listener = _listen(*self._place) if cluster.is_chief else None

    def turn(self, seconds: float) -> None:
        """Wait for news, so long at most, take it in, and give a sign of life if it is time.

        Raises ParallelError where worker 0 was started with other addresses.
        """
        if self._listener is None and not self._others and not self.begun:
            self._connect()
        self._wait(seconds)
        if self._listener is not None:
            self._meet()
        for index, line in list(self._others.items()):
            self._hear(index, line)
        if self._listener is not None and not self.begun and len(self._others) == len(self._cluster.workers) - 1:
            self.begun = True
            self._tell(GO)
        if monotonic() - self._beaten >= self._beat:
            self._beaten = monotonic()
            self._tell(ALIVE)

    def report_end(self) -> None:
        """Tell the others that this worker is lost to them. Go on with `turn`: another may have been lost before it."""
        self._tell(b"%s %d" % (LOST, self._cluster.index))

    def close(self, *, done: bool) -> None:
        """Leave the others. done: so that they don't take this worker for lost."""
        if done:
            self._tell(DONE)
        if self._listener is not None:
            self._listener.close()
        for line in (*self._others.values(), *self._strangers):
            line.close(GOODBYE if self.begun else 0)

    def _connect(self) -> None:
        """Call worker 0, which may not be there yet, or hang up: not at once again."""
        if monotonic() - self._called < PAUSE:
            return
        self._called = monotonic()
        try:
            line = _Line(socket.create_connection(self._place, timeout=HELLO))
        except OSError:
            return
        line.send(_hello(self._cluster, self._cluster.index))
        self._others[0] = line

    def _wait(self, seconds: float) -> None:
        with selectors.DefaultSelector() as selector:
            for line in (*self._others.values(), *self._strangers):
                selector.register(line.socket, selectors.EVENT_READ, line.read)
            if self._listener is not None:
                selector.register(self._listener, selectors.EVENT_READ, partial(self._accept, self._listener))
            if not selector.get_map():
                sleep(seconds)
                return
            for key, _ in selector.select(seconds):
                key.data()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # gone again
            self._strangers.append(_Line(listener.accept()[0]))
        if len(self._strangers) > STRANGERS:
            self._strangers.pop(0).close()

    def _meet(self) -> None:
        """Give those who have said who they are their places, and send away whoever can't."""
        known = {_hello(self._cluster, index): index for index in range(1, len(self._cluster.workers))}
        for line in list(self._strangers):
            said = line.take(1)
            if not said and not line.ended and monotonic() - line.opened < HELLO:
                continue
            self._strangers.remove(line)
            index = known.get(said[0]) if said else None
            if index is None or self.begun:  # one that was started again, before its loss was noticed, comes back
                if index is None and said and _A_HELLO.fullmatch(said[0]):
                    line.send(REFUSED)
                line.close()
                if index in self._others:
                    self._lose(index)
                continue
            if index in self._others:
                self._others[index].close()
            self._others[index] = line

    def _hear(self, index: int, line: _Line) -> None:
        for message in line.take():
            word, _, number = message.partition(b" ")
            if message == GO and index == 0:
                self.begun = True
            elif message == REFUSED and index == 0 and not self.begun:
                raise ParallelError(
                    f"worker 0 ({self._cluster.workers[0]}) was started with other --workers: start all with the same"
                )
            elif message == DONE:
                line.done = True
            elif word == LOST and number.isdigit() and int(number) < len(self._cluster.workers):
                self._lose(int(number) if index == 0 else index)
            elif message != ALIVE:
                line.ended = True  # it isn't one of ours
        if line.ended or monotonic() - line.heard > self._silence:
            line.close()
            del self._others[index]
            if not line.done:
                self._lose(index)

    def _lose(self, index: int) -> None:
        if self.begun and self.lost is None:
            self.lost = index
            if self._listener is not None:
                self._tell(b"%s %d" % (LOST, index), but=index)

    def _tell(self, message: bytes, but: int | None = None) -> None:
        for index, line in self._others.items():
            if index != but:
                line.send(message)


class _Line:
    """A connection. heard: when something came last. ended: nothing will come. done: the other side said goodbye."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.socket.setblocking(False)
        self.opened = self.heard = monotonic()
        self.ended = self.done = False
        self._messages: list[bytes] = []
        self._rest = b""

    def read(self) -> None:
        """Take in what has come."""
        try:
            received = self.socket.recv(LONGEST)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        *messages, self._rest = (self._rest + received).split(b"\n")
        self._messages += messages
        self.heard = monotonic()
        self.ended = self.ended or not received or len(self._rest) > LONGEST

    def take(self, most: int | None = None) -> list[bytes]:
        """The messages that came, once each. most: how many."""
        taken = self._messages[:most]
        del self._messages[:most]
        return taken

    def send(self, message: bytes) -> None:
        """A message that doesn't arrive is missed by its silence."""
        with suppress(OSError):
            self.socket.send(message + b"\n")

    def close(self, patience: float = 0) -> None:
        """patience: seconds to wait for the other side to hang up: what isn't read here takes along what was sent."""
        with self.socket, suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
            until = monotonic() + patience
            while (left := until - monotonic()) > 0:
                self.socket.settimeout(left)
                if not self.socket.recv(LONGEST):
                    break


def _hello(cluster: Cluster, index: int) -> bytes:
    """What a worker begins with: who trains together, as a digest, and which of them it is."""
    digest = hashlib.sha256(json.dumps(cluster.workers).encode()).hexdigest()
    return f"zoo {digest} {index}".encode()


def _listen(host: str, port: int) -> socket.socket:
    """On all addresses, as TensorFlow does, or on loopback alone where that is what the worker is called."""
    try:
        if _is_loopback(host):
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            return socket.create_server((host, port), family=family)
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        raise ParallelError(
            f"port {port} of worker 0, where the others report that they are alive, can't be opened "
            f"({error.strerror}): choose other ports, for all workers alike"
        ) from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
