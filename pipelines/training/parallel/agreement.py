"""What goes on beside the chief: agreeing before the first step, and hearing after each validation whether it goes on.

Only the chief decides: another machine's rounding may see another epoch as the best one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.core.provenance.code import code_digest
from pipelines.core.provenance.plan import Plan, load_data
from pipelines.core.support.to_json import digest_of
from pipelines.training.fingerprint import code_of, fingerprint, library_versions
from pipelines.training.loop.checkpoint import Best, Checkpoint
from pipelines.training.loop.fit import Observer
from pipelines.training.parallel.learner import spread
from pipelines.training.parallel.team import Team


def together_fingerprint(plan: Plan) -> str:
    """A plan's fingerprint where several devices train it: SHA-256, in hex. The same for any number of them.

    Its weights are those of `fingerprint`, but for rounding; with as many devices, they are the same again.
    """
    return digest_of({"alone": fingerprint(plan), "together": code_digest(spread)})


def check_same_start(team: Team, plan: Plan) -> None:
    """Raise ParallelError, in each process, where a worker was started with something else."""
    if team.cluster is not None:
        team.check_same(
            {
                "model": digest_of({"model": plan.model}),
                "recipe": digest_of(plan.recipe.decisive()),
                "data digest": load_data(plan).digest,
                "code version": digest_of({"alone": code_of(plan), "together": code_digest(spread)}),
                "version of a library": digest_of(library_versions()),
                "start": together_fingerprint(plan),  # weights it starts from, teacher, and whatever else
            }
        )


@dataclass(frozen=True)
class Spokesman:
    """An observer that says to all processes what the chief's says; of the others there is none to ask."""

    team: Team
    chief: Observer | None

    def on_step(self, epochs: float, best: Best | None) -> None:
        """Pass it on."""
        if self.chief is not None:
            self.chief.on_step(epochs, best)

    def on_validation(self, checkpoint: Checkpoint, metrics: Mapping[str, float]) -> str:
        """Returns why the training ends here, for the chief and for all; "" where it goes on."""
        return self.team.from_chief(self.chief.on_validation(checkpoint, metrics) if self.chief is not None else "")
