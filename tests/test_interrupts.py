"""What Ctrl-C says at once: a command of its own, in a process of its own, that takes its time to end."""

from __future__ import annotations

import subprocess
import sys

import pytest

AT_WORK = """
import os, signal, sys, time
from pipelines.cli import interrupts, main
from pipelines.cli.registry import command

@command("work", "wait for an interrupt", group="data", json=False)
def work(options):
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)
    finally:  # as a library that is within a step
        deadline = time.monotonic() + 60
        while {goes_on} and time.monotonic() < deadline:
            time.sleep(0.01)

interrupts.WAIT = {wait}
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started the tests without
sys.exit(main(["work"]))
"""
UNTIL_SAID = "not os.fstat(2).st_size"


@pytest.mark.parametrize(
    ("goes_on", "wait", "said"),
    [(UNTIL_SAID, 0.1, "zoo: stopping, please wait\nzoo: interrupted\n"), ("False", 60, "zoo: interrupted\n")],
)
def test_an_interrupt_is_answered_at_once_where_the_end_takes_long(goes_on, wait, said, tmp_path):
    with (tmp_path / "errors").open("w+b") as errors:
        command = [sys.executable, "-c", AT_WORK.format(goes_on=goes_on, wait=wait)]
        done = subprocess.run(command, stderr=errors, check=False)
        errors.seek(0)
        assert (errors.read().decode(), done.returncode) == (said, 130)
