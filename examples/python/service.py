"""A web service that classifies images: python service.py EXPORT... [--host HOST] [--port PORT].

Before the service listens, each export tests itself on its samples: one whose predictions differ stops the start.
"""

import argparse
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Annotated, Literal

import anyio
import uvicorn
from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from PIL import Image
from pydantic import BaseModel
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

import zoo
from zoo.contract import read_manifest
from zoo.formats import FORMATS
from zoo.samples import read_samples

LARGEST_UPLOAD = 10 * 2**20  # bytes
PATIENCE = 20.0  # seconds that an upload may take
LARGE_IMAGE = 2_000_000  # pixels, 20 ms of a processor: of larger ones one is decoded at a time
LARGE_WAITING = 16  # large images that may wait for their turn; each is held in memory, up to LARGEST_UPLOAD
TOLERANCE = 1e-5  # of a probability, as in the verification of exports


class Ranked(BaseModel):
    """A label and its probability, 0..1."""

    label: str
    probability: float


class Prediction(BaseModel):
    """The prediction for an image. ranking: all labels, likeliest first.

    labels: those that hold the true one in the share of cases that was asked for as coverage; none where none was.
    familiarity: 0..1; known: false for an image that is likely of none of the classes; null where the file doesn't say.
    """

    model: str
    label: str
    probability: float
    ranking: list[Ranked]
    labels: list[str]
    familiarity: float | None = None
    known: bool | None = None


class About(BaseModel):
    """A model of the service. test_accuracy: 0..1, on the test set."""

    model: str
    family: str
    labels: list[str]
    height: int
    width: int
    channels: int
    test_accuracy: float


class Health(BaseModel):
    """Ready: each model is loaded, and its predictions for its samples are those expected."""

    status: Literal["ready"] = "ready"


class Problem(BaseModel):
    """What is wrong with the request, and what to do, in one sentence."""

    detail: str


BODIES = {
    "image/*": {"schema": {"type": "string", "format": "binary"}},
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "properties": {"image": {"type": "string", "format": "binary"}},
            "required": ["image"],
        }
    },
}


def create_app(folders: Sequence[Path], patience: float = PATIENCE) -> FastAPI:
    """The service for these exports; the first one is used where a request names none.

    patience: seconds that an upload may take.
    """
    large_images = LargeImages()
    classifiers = {f"{loaded.metadata.data_set}/{loaded.metadata.model}": loaded for loaded in map(load, folders)}
    if len(classifiers) < len(folders):
        sys.exit(f"{len(folders)} exports have {len(classifiers)} names, expected a name each: leave out the others")
    default = next(iter(classifiers))
    app = FastAPI(
        title="Image classifier",
        version="1",
        description=f"Post an image, get its label: by `{default}`, unless you name another model.",
    )

    @app.get("/health", tags=["service"])
    def health() -> Health:
        """Whether the service is ready: it listens only when it is."""
        return Health()

    @app.get("/models", tags=["service"])
    def models() -> list[About]:
        """The models that there are, with their labels in the order of their outputs."""
        return [about(name, classifier) for name, classifier in classifiers.items()]

    @app.post(
        "/predict",
        tags=["images"],
        responses={
            404: {"model": Problem, "description": "No model of that name"},
            408: {"model": Problem, "description": "Too slow an upload"},
            413: {"model": Problem, "description": "Too large an upload"},
            422: {
                "model": Problem,
                "description": "No image, a damaged one, or a coverage that the model doesn't give",
            },
            503: {"model": Problem, "description": "Too many large images at once"},
        },
        openapi_extra={"requestBody": {"required": True, "content": BODIES}},
    )
    async def predict(
        request: Request,
        model: Annotated[str, Query(description="one of /models", examples=[default])] = default,
        coverage: Annotated[float | None, Query(description="a share, for `labels`", examples=[0.95])] = None,
        by_class: Annotated[bool, Query(description="that share of the images of each class")] = False,
    ) -> Prediction:
        """Classify an image of any size, the body or a form's file: JPEG, PNG, WebP, AVIF, GIF, BMP, TIFF, or PPM."""
        if model not in classifiers:
            raise HTTPException(404, f"no model is called {model!r}: there are {', '.join(classifiers)}")
        try:
            with anyio.fail_after(patience):
                image = await uploaded_image(request)
        except ClientDisconnect:  # nobody waits for the answer
            raise HTTPException(400, "the connection was closed during the upload: send the image again") from None
        except TimeoutError:
            sentence = f"the upload took longer than {patience:g} s: send a smaller image, or over a faster connection"
            raise HTTPException(408, sentence, {"Connection": "close"}) from None
        try:
            async with large_images.turn(image):
                ask = partial(classifiers[model].predict, image, coverage=coverage, by_class=by_class)
                found = await run_in_threadpool(ask)
        except (zoo.ImageError, zoo.InputError) as error:
            raise HTTPException(422, str(error)) from None
        except zoo.ExportError as error:  # it has no sets; or it is damaged, which is nobody's request
            if coverage is None:
                raise
            raise HTTPException(422, str(error)) from None
        ranking = [Ranked(label=label, probability=probability) for label, probability in found.ranking]
        return Prediction(
            model=model,
            label=found.label,
            probability=found.probability,
            ranking=ranking,
            labels=list(found.labels),
            familiarity=found.familiarity,
            known=found.known,
        )

    return app


class LargeImages:
    """Whose turn it is to be decoded. Who waits holds no thread, so that small images pass large ones."""

    def __init__(self) -> None:
        self._waiting, self._one = 0, anyio.Lock()

    @asynccontextmanager
    async def turn(self, image: bytes) -> AsyncIterator[None]:
        """Wait until this image may be decoded: at once if it is small. HTTPException where too many wait already."""
        if await run_in_threadpool(pixels_of, image) <= LARGE_IMAGE:
            yield
            return
        if self._waiting >= LARGE_WAITING:
            sentence = f"{LARGE_WAITING} large images wait already: try again in a few seconds, or send a smaller image"
            raise HTTPException(503, sentence, {"Retry-After": "5"})
        self._waiting += 1
        try:
            async with self._one:
                yield
        finally:
            self._waiting -= 1


def pixels_of(image: bytes) -> int:
    """How many an image's header promises; 0 for what `predict` will refuse."""
    try:
        # Pillow's plugin for JPEG XL would decode all of it here.
        with Image.open(BytesIO(image), formats=[name for name in FORMATS if name != "JXL"]) as opened:
            return opened.width * opened.height
    except Exception:  # what is wrong with it `predict` says, in one sentence
        return 0


def load(folder: Path) -> zoo.Classifier:
    """The classifier of an export; SystemExit where its predictions for its samples aren't those expected."""
    classifier = zoo.load(folder, threads=1)  # for an image: the service handles several at once
    if classifier.columns:
        sys.exit(f"{folder} classifies the rows of a table, expected an export that classifies images")
    for sample in read_samples(folder, read_manifest(folder)):
        found = dict(classifier.predict(folder / sample.file).ranking)
        expected = dict(zip(classifier.labels, sample.probabilities, strict=True))
        difference = max(abs(found[label] - expected[label]) for label in expected)
        name = Path(sample.file).name
        if not difference <= TOLERANCE:  # `not <=`: NaN fails too
            sys.exit(
                f"{folder} predicts its own sample {name} differently than expected, by {difference:.1e} in "
                "probability: export the model again"
            )
    return classifier


def about(name: str, classifier: zoo.Classifier) -> About:
    """What an export's metadata says."""
    metadata = classifier.metadata
    return About(
        model=name,
        family=metadata.family,
        labels=list(metadata.labels),
        height=metadata.height,
        width=metadata.width,
        channels=metadata.channels,
        test_accuracy=metadata.test_accuracy,
    )


async def uploaded_image(request: Request) -> bytes:
    """The bytes of the request's image: its body, or the file `image` of a form."""
    request = Request(request.scope, at_most(LARGEST_UPLOAD, request.receive))
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        return await request.body()
    async with request.form(max_files=1) as form:
        image = form.get("image")
        if not isinstance(image, UploadFile):
            raise HTTPException(422, "the form has no file called 'image': send one, or the image as the body")
        return await image.read()


def at_most(size: int, receive: Receive) -> Receive:
    """A request's `receive` that refuses what is beyond `size` bytes as soon as it comes.

    FastAPI's own `max_body_size` does it as well, in words of its own and as plain text.
    """
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > size:
            raise HTTPException(413, f"the upload is too large, expected at most {size:,} bytes: send a smaller image")
        return message

    return counted


def main() -> None:
    """Check the exports, then serve them."""
    parser = argparse.ArgumentParser(description="Classify images over HTTP.")
    parser.add_argument("exports", nargs="+", type=Path, metavar="EXPORT", help="the folder of an export")
    parser.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, this machine alone")
    parser.add_argument("--port", type=int, default=8000, help="default: 8000")
    parser.add_argument(
        "--patience",
        type=float,
        default=PATIENCE,
        metavar="SECONDS",
        help=f"that an upload may take (default: {PATIENCE:g})",
    )
    options = parser.parse_args()
    try:
        app = create_app(options.exports, options.patience)
    except zoo.ZooError as error:
        sys.exit(str(error))
    uvicorn.run(app, host=options.host, port=options.port)


if __name__ == "__main__":
    main()
