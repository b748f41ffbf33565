"""A Ray cluster that answers images: one that is there already, or one of this machine for the time of a job."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from zoo.errors import InputError, MissingExtraError, printable

LOCAL = "local"
SECONDS = 10.0  # to reach a cluster
TO_JOIN = (
    "run this on one of its machines, with the same Ray and Python, and with its token in RAY_AUTH_TOKEN or "
    "~/.ray/auth_token, or RAY_AUTH_MODE=disabled where it has none"
)


def check_address(address: str) -> tuple[str, int] | None:
    """Host and port of a cluster's head; None for this machine. Raises InputError for what is neither."""
    if address == LOCAL:
        return None
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise InputError(
            f"a Ray cluster is {LOCAL} or HOST:PORT, as `ray start --head` prints it, received {printable(address)!r}"
        )
    return host.strip("[]"), int(port)


def import_ray(address: str) -> Any:
    """The module `ray`, for a cluster at an address.

    Whoever reaches a cluster without a token may run any code on it. So one of this machine listens on the loopback
    interface alone, and has a token that nobody else knows; a cluster that is there already has to ask for the token
    of whoever calls, unless RAY_AUTH_MODE says otherwise.
    Raises what `check_address` raises; MissingExtraError where Ray, or what its part for data needs, isn't installed;
    and InputError where others have imported it, for a cluster that is open to all.
    """
    local = check_address(address) is None
    said = {"RAY_AUTH_MODE": "token"}
    if local:
        said["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # its word for "no other machines": it listens to none
        if "RAY_AUTH_TOKEN_PATH" not in os.environ:
            said["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        if sys.modules.get("ray") and not said.keys() <= os.environ.keys():
            raise InputError(
                f"Ray was imported before, when {', '.join(said)} weren't set: import it later, or set them"
            )
    # What it would report to its makers, and write of its inner life between our lines.
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    for name, value in {**said, **quiet}.items():
        os.environ.setdefault(name, value)  # read at the import
    try:
        import pandas  # noqa: F401 (what Ray Data keeps rows in)
        import pyarrow  # noqa: F401
        import ray
    except ModuleNotFoundError as error:
        raise MissingExtraError((error.name or "ray").partition(".")[0], "ray") from None
    return ray


@contextmanager
def connected(address: str, cores: int) -> Iterator[Any]:
    """The module `ray`, of a process that is connected until the block ends. cores: of a cluster of this machine.

    Raises what `import_ray` raises, and InputError where no cluster is reached, it is open to all, or none starts.
    """
    place = check_address(address)
    ray = import_ray(address)
    if ray.is_initialized():
        raise InputError("this process is connected to a Ray cluster already: call ray.shutdown() first")
    if place is not None:
        _check_reached(*place)
        _check_asks_for_token(address)
    how: dict[str, Any] = {"num_cpus": cores, "include_dashboard": False} if place is None else {}
    try:
        with _silent():
            ray.init(address, log_to_driver=False, logging_level="ERROR", configure_logging=False, **how)
    except Exception as error:  # of many kinds: what isn't reached, of another version, or too slow to start
        what = "no Ray cluster starts here" if place is None else f"the Ray cluster at {address} can't be joined"
        advice = "start one by `ray start --head`, and give its address" if place is None else TO_JOIN
        raise InputError(f"{what} ({_first_line(error)}): {advice}") from None
    with redirect_stdout(sys.stderr):  # where it says that a worker died, some of it at the very end
        try:
            yield ray
        finally:
            ray.shutdown()


def _check_reached(host: str, port: int) -> None:
    """Ray itself asks for a minute and more."""
    try:
        socket.create_connection((host, port), SECONDS).close()
    except OSError as error:
        raise InputError(
            f"no Ray cluster answers at {printable(host)}:{port} ({error.strerror or error}): `ray start --head` "
            f"prints the address of one, --ray {LOCAL} starts one on this machine"
        ) from None


def _check_asks_for_token(address: str) -> None:
    """Raise InputError where a cluster answers whoever has no token, unless RAY_AUTH_MODE says that it does.

    Such a cluster takes any token, and Ray can't be asked about that. So, before it gets ours, a process that has none
    asks for its status.
    """
    if os.environ["RAY_AUTH_MODE"].lower() != "token":
        return
    without = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH_")}
    done = subprocess.run(  # noqa: S603 (Ray's own command, with an address that was checked)
        [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", address],
        env={**without, "RAY_AUTH_MODE": "disabled", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode == 0:
        raise InputError(
            f"the Ray cluster at {address} asks for no token, so that whoever reaches it may run any code on it: start "
            "it with RAY_AUTH_MODE=token, or set RAY_AUTH_MODE=disabled here to take it as it is"
        )
    if "authentication token" not in done.stderr.lower():  # which it has asked for
        last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), f"code {done.returncode}")
        raise InputError(f"the Ray cluster at {address} can't be joined ({last.strip().rstrip('.')}): {TO_JOIN}")


@contextmanager
def _silent() -> Iterator[None]:
    """Nothing is written to standard error, not even by what isn't Python: Ray says there which settings it has."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
