"""The layers of Keras, imported when the first model is built rather than when the zoo is listed.

Importing Keras takes seconds; `zoo list` and a mistyped model name shouldn't.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zoo.models.backend import start_keras

if TYPE_CHECKING:
    from keras.layers import *  # noqa: F403


def __getattr__(name: str) -> Any:
    return getattr(start_keras().layers, name)
