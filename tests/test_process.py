"""Whether the process that trains a run still lives, by what the run's tags say of it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pipelines.core.support.process import process_of, this_process


@pytest.fixture
def other():
    """Another process, as it would describe itself, and how to end it."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from pipelines.core.support.process import this_process as p; print(p(), flush=True); input()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    line = process.stdout.readline()
    started = line.split("started='")[1].split("'")[0]
    yield replace(this_process(), pid=process.pid, started=started), process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_a_process_that_lives_is_not_gone(other):
    described, _ = other
    assert this_process().is_gone() is False
    assert described.is_gone() is False
    assert process_of(described.to_tags()) == described


def test_one_that_has_ended_is_gone_before_and_after_its_parent_looks(other):
    described, process = other
    process.stdin.close()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, and a zombie as yet
    assert psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE
    assert described.is_gone() is True
    process.wait()
    assert described.is_gone() is True


def test_another_process_of_the_same_id_is_another_one():
    own = this_process()
    assert replace(own, started=str(int(own.started) - 100_000)).is_gone() is True


@pytest.mark.skipif(not psutil.LINUX, reason="earlier runs stored what /proc says")
def test_what_earlier_runs_stored_is_understood():
    ticks = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    assert replace(this_process(), started=ticks).is_gone() is False
    assert abs(int(this_process().started) - int(ticks)) <= os.sysconf("SC_CLK_TCK")
    assert replace(this_process(), started="Fri Nov 28 05:29:00 2025").is_gone() is None, "macOS had dates"


def test_elsewhere_nothing_is_known():
    assert replace(this_process(), space="another boot").is_gone() is None
    assert replace(this_process(), started="").is_gone() is None
    assert process_of({"process.pid": "12"}) is None
