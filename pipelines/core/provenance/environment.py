"""What decides the weights beside the plan: code, libraries, machine. Taken down by each training.

An environment is flat, name -> text, so that two of them can be laid side by side whatever they hold.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.core.provenance.machine import card_names, commit, describe_machine, training_threads, versions

Environment = Mapping[str, str]

# Variables that change what TensorFlow computes, or in which order it adds.
SETTINGS = (
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "ONEDNN_MAX_CPU_ISA",
    "TF_CUDNN_DETERMINISTIC",
    "TF_DETERMINISTIC_OPS",
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_XLA_FLAGS",
    "XLA_FLAGS",
)
COMMIT, CODE = "commit", "code"


@dataclass(frozen=True)
class Difference:
    """What isn't the same in two environments. then, now: "" where there is nothing of that name."""

    name: str
    then: str
    now: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.name}: {self.then or 'none'} then, {self.now or 'none'} now"


def machine_facts() -> dict[str, str | int | float]:
    """What a run logs of the machine that it trains on, under the names that `environment` has."""
    machine = describe_machine()
    return {
        "processor": machine.processor,
        "instructions": " ".join(machine.instructions),
        "threads": training_threads(),
        "graphics": ", ".join(card_names()),
        "system": machine.system,
        "settings": " ".join(f"{name}={os.environ[name]}" for name in SETTINGS if name in os.environ),
    }


MACHINE = ("processor", "instructions", "threads", "graphics", "system", "settings")  # the names of these


def environment(code: str) -> Environment:
    """That of this process. code: the digest of the code that trains, which depends on the model, too."""
    of_machine = {name: str(value) for name, value in machine_facts().items()}
    return {**versions(), COMMIT: commit(), CODE: code, **of_machine}


def differences(then: Environment, now: Environment) -> tuple[Difference, ...]:
    """What differs, of what both know or one of them has more of; what `then` never wrote down is in `unknown`."""
    silent = set(unknown(then))
    names = [name for name in dict.fromkeys([*then, *now]) if name not in silent]
    found = [Difference(name, then.get(name, ""), now.get(name, "")) for name in names]
    return tuple(each for each in found if each.then != each.now)


def unknown(then: Environment) -> tuple[str, ...]:
    """What a run that is older than this file doesn't say of itself."""
    return tuple(name for name in (CODE, *MACHINE) if name not in then)
