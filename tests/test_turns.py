"""Calls that are timed in turns: who comes when, what counts, and when it ends."""

from __future__ import annotations

import time

from pipelines.core.metrics.turns import seconds_in_turns


def test_calls_take_turns_and_warm_up_does_not_count():
    called = []
    calls = [lambda: called.append("a"), lambda: called.append("b")]
    times = seconds_in_turns(calls, 3, in_a_row=2, warm_up=1)
    assert "".join(called) == "aabb" * 4
    assert times.shape == (3, 2, 2)
    assert (times >= 0).all()


def test_a_limit_leaves_one_round():
    times = seconds_in_turns([lambda: time.sleep(0.01)] * 2, 100, warm_up=2, limit=0)
    assert times.shape == (1, 2, 1)
    assert (times >= 0.01).all()


def test_nobody_takes_no_time():
    assert seconds_in_turns([], 2).shape == (2, 0, 1)
