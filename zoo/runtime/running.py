"""One call of a session: what it answers is what the contract promises, or an error says in a sentence why not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.contract import ACTIVATION_MAP, FAMILIARITY
from zoo.errors import ExportError, InputError, ProviderError
from zoo.runtime.providers import reason_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from zoo.contract import Metadata

ROUNDED = 1e-5  # of a share
_OUT_OF_MEMORY = ("allocate memory", "bad_alloc", "bad allocation", "out of memory")


def run_session(
    session: Any, metadata: Metadata, provider: str, names: Sequence[str], inputs: NDArray[Any]
) -> list[NDArray[np.float32]]:
    """The outputs of those names, float32 [N, K], of an activation map [N, K, h, w], of familiarity [N].

    Raises InputError where memory doesn't last for so many inputs, ProviderError where an accelerator fails, and
    ExportError where the file doesn't do what it promises: one that is damaged may load.
    """
    name = f"{metadata.data_set}/{metadata.model}"
    try:
        outputs: list[NDArray[np.float32]] = session.run(names, {metadata.input.name: inputs})
    except Exception as error:  # onnxruntime's errors have no base of their own
        reason = reason_of(error)
        if any(words in str(error).lower() for words in _OUT_OF_MEMORY):
            raise InputError(
                f"{name} has no memory for inputs of shape {list(inputs.shape)} on {provider} ({reason}): pass "
                "fewer at once, or smaller ones"
            ) from error
        if provider != "cpu":
            raise ProviderError(f"provider {provider!r} failed to run {name} ({reason}): use 'cpu'") from error
        raise ExportError(f"{name} can't be run ({reason}): its file is damaged, export the model again") from error
    expected = (len(inputs), len(metadata.labels))
    for output, values in zip(names, outputs, strict=True):
        dimensions = {ACTIVATION_MAP: 4, FAMILIARITY: 1}.get(output, 2)
        if values.shape[:2] != expected[:dimensions] or values.ndim != dimensions:
            raise ExportError(
                f"{name} gives {output} of shape {list(values.shape)}, expected "
                f"{list(expected[:dimensions])}: its file is damaged, export the model again"
            )
    return outputs


def check_shares(familiarity: NDArray[np.float32], metadata: Metadata) -> None:
    """Raise ExportError where what a file says of how familiar inputs are isn't from 0 to 1."""
    if not np.all(np.abs(familiarity - 0.5) <= 0.5 + ROUNDED):  # NaN fails, too
        raise ExportError(
            f"{metadata.data_set}/{metadata.model} gives a familiarity that isn't from 0 to 1: its file is damaged, "
            "export the model again"
        )
