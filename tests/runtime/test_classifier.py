"""A classifier's answers: from whatever an image comes as, one by one, in batches, and from many threads."""

from __future__ import annotations

import concurrent.futures
import io
import multiprocessing
import pickle
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import zoo
from zoo.images import read_image, resize


def test_the_samples_of_an_export_come_out_as_written_in_it(classifier, samples) -> None:
    assert len(samples) == 10
    for file, _, probabilities in samples:
        prediction = classifier.predict(file)
        np.testing.assert_allclose([dict(prediction.ranking)[k] for k in classifier.labels], probabilities, atol=1e-6)
        assert prediction.label == classifier.labels[int(np.argmax(probabilities))]
    assert sum(classifier.predict(file).label == label for file, label, _ in samples) >= 9


def test_a_ranking_holds_every_label_likeliest_first(classifier, samples) -> None:
    prediction = classifier.predict(samples[0][0])
    labels, probabilities = zip(*prediction.ranking, strict=True)
    assert sorted(labels) == sorted(classifier.labels)
    assert list(probabilities) == sorted(probabilities, reverse=True)
    assert prediction.ranking[0] == (prediction.label, prediction.probability)
    assert sum(probabilities) == pytest.approx(1, abs=1e-5)
    assert all(type(probability) is float for probability in probabilities)  # JSON takes no NumPy scalars


def test_an_image_may_come_as_path_text_bytes_pil_or_array(classifier, samples) -> None:
    file = samples[5][0]
    pixels = np.asarray(Image.open(file))
    forms = [file, str(file), file.read_bytes(), Image.open(file), pixels, pixels[..., None], np.dstack([pixels] * 3)]
    answers = [classifier.predict(form) for form in forms]
    assert answers == [answers[0]] * len(forms)
    assert classifier.predict_batch(forms) == answers


def test_a_color_classifier_takes_grey_and_a_grey_one_color(classifier, tinted, samples) -> None:
    in_color = zoo.load(tinted)
    for file in (samples[0][0], tinted / "samples" / "0.png"):
        assert len(in_color.predict(file).ranking) == len(classifier.predict(file).ranking) == 10
    tints = [in_color.predict(tinted / "samples" / f"{digit}.png").label for digit in range(10)]
    assert sum(label == str(digit) for digit, label in enumerate(tints)) >= 9


@pytest.mark.parametrize("size", [(1, 1), (5, 13), (8, 9), (37, 8), (300, 200)], ids=str)
def test_other_sizes_are_resized_in_the_file_as_training_resizes(classifier, size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 1), dtype=np.uint8)
    as_trained = classifier.probabilities(resize(image, 8, 8)[None])
    # Each of 64 pixels may round the other way, by 1 of 255.
    np.testing.assert_allclose(classifier.probabilities(image[None]), as_trained, atol=0.02)


class Watched:
    """A session that notes what it is given."""

    def __init__(self, session) -> None:
        self._session, self.given = session, []

    def run(self, names, inputs):
        self.given.append(inputs["images"])
        return self._session.run(names, inputs)

    def __getattr__(self, name: str):
        return getattr(self._session, name)


@pytest.mark.parametrize("resizing", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("export", ["pooled", "tinted"])
def test_off_the_cpu_images_are_resized_before_the_file(request, export: str, resizing: str) -> None:
    """CUDA refuses bytes, and OpenVINO shrinks without antialiasing."""
    cpu = zoo.load(request.getfixturevalue(export), provider="cpu")
    session = Watched(cpu.session)
    cuda = replace(cpu, session=session, provider="cuda", metadata=replace(cpu.metadata, resizing=resizing))
    sizes = [(37, 50), (8, 8), (50, 37), (5, 90)]
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (*size, cpu.channels), dtype=np.uint8) for size in sizes]
    fitting = np.stack([resize(image, 8, 8, resizing) for image in images])
    cuda.predict_batch(images)
    assert len(session.given) == 1, "of one size, they go together"
    np.testing.assert_array_equal(session.given[0], fitting)
    cuda.probabilities(images[0][None])
    cuda.predict(images[0])
    if cuda.map_size:
        assert cuda.explain(images[0]).image.shape == images[0].shape  # what is drawn over is the whole image
    for given in session.given[1:]:
        np.testing.assert_array_equal(given, fitting[:1])


def test_a_batch_of_many_sizes_and_kinds_keeps_its_order(classifier, samples) -> None:
    generator = random.Random(0)
    images = []
    for place in range(150):
        grown = Image.open(samples[place % 10][0]).resize((generator.choice([8, 9, 16]), generator.choice([8, 11])))
        stored = io.BytesIO()
        grown.save(stored, "PNG")
        images.append(generator.choice([grown, np.asarray(grown), stored.getvalue()]))
    one_by_one = [classifier.predict(image) for image in images]
    for batch_size in (1, 7, 64, 1000):
        batched = classifier.predict_batch(images, batch_size=batch_size)
        assert [p.label for p in batched] == [p.label for p in one_by_one]
        np.testing.assert_allclose([p.probability for p in batched], [p.probability for p in one_by_one], atol=1e-6)


def test_a_batch_may_be_an_array_a_generator_or_nothing(classifier, samples) -> None:
    images = np.stack([read_image(file, 1) for file, _, _ in samples])
    expected = [classifier.labels[k] for k in classifier.probabilities(images).argmax(axis=1)]
    assert [p.label for p in classifier.predict_batch(images, batch_size=3)] == expected
    assert [p.label for p in classifier.predict_batch(file for file, _, _ in samples)] == expected
    assert classifier.predict_batch([]) == []
    assert classifier.predict_batch(images[:0]) == []


def test_large_images_do_not_pile_up_in_memory(classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    from zoo.runtime import batches

    monkeypatch.setattr(batches, "MOST_VALUES", 1000)
    images = [np.full((side, 20), side, np.uint8) for side in (20, 20, 30, 20, 60, 20, 30)]  # 60 is above the limit
    given = list(batches.batches_of_one_size(images, classifier.read, batch_size=64))
    assert sorted(place for places, _ in given for place in places) == list(range(7))
    assert max(batch.size for _, batch in given) == 1200
    assert all(len(batch) == 1 or batch.size <= 1000 for _, batch in given)
    for places, batch in given:
        assert all(image[0, 0, 0] == images[place][0, 0] for place, image in zip(places, batch, strict=True))


def test_a_batch_is_given_as_soon_as_it_is_full(classifier) -> None:
    from zoo.runtime.batches import batches_of_one_size

    read = []

    def images():
        for place in range(10):
            read.append(place)
            yield np.zeros((8, 8), np.uint8)

    first, _ = next(batches_of_one_size(images(), classifier.read, batch_size=4))
    assert first == read == [0, 1, 2, 3]


def test_probabilities_takes_views_and_any_number_of_images(classifier) -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 16, 16, 1), dtype=np.uint8)
    answer = classifier.probabilities(images)
    assert answer.shape == (9, 10)
    assert answer.dtype == np.float32
    np.testing.assert_allclose(classifier.probabilities(images[::2]), answer[::2], atol=1e-6)
    flipped = np.ascontiguousarray(images[:, ::-1])
    np.testing.assert_array_equal(classifier.probabilities(images[:, ::-1]), classifier.probabilities(flipped))


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (np.zeros((2, 8, 8, 1), np.float32), "float32 [2, 8, 8, 1]"),
        (np.zeros((8, 8, 1), np.uint8), "uint8 [8, 8, 1]"),
        (np.zeros((2, 1, 8, 8), np.uint8), "uint8 [2, 1, 8, 8]"),
        (np.zeros((2, 8, 8, 3), np.uint8), "uint8 [2, 8, 8, 3]"),
        (np.zeros((0, 8, 8, 1), np.uint8), "uint8 [0, 8, 8, 1]"),
        (np.zeros((2, 0, 8, 1), np.uint8), "uint8 [2, 0, 8, 1]"),
        ([[0]], "a list"),
        (None, "a NoneType"),
    ],
    ids=str,
)
def test_images_of_another_type_or_shape_are_refused(classifier, images: object, told: str) -> None:
    with pytest.raises(zoo.InputError) as error:
        classifier.probabilities(images)
    assert "uint8 [N, H, W, 1]" in str(error.value)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (np.full((8, 8), np.nan), "float64 nan..nan"),
        (np.full((8, 8, 1), 0.5, np.float32), "float32 0.5..0.5"),
        (np.zeros((8, 8), np.int64), "int64 0..0"),
        (np.array([[None] * 8] * 8), "object of shape [8, 8]"),
        (np.zeros((3, 8, 8), np.uint8), "shape [3, 8, 8]"),
        (np.zeros((8, 8, 2), np.uint8), "shape [8, 8, 2]"),
        (np.zeros((1, 8, 8, 1), np.uint8), "shape [1, 8, 8, 1]"),
        (np.zeros((0, 8), np.uint8), "shape [0, 8]"),
        ([[0] * 8] * 8, "list"),
        (None, "NoneType"),
        ({"pixels": 1}, "this classifier takes no rows"),
    ],
    ids=str,
)
def test_an_image_of_another_type_or_shape_is_refused(classifier, image: object, told: str) -> None:
    with pytest.raises(zoo.InputError) as error:
        classifier.predict(image)
    assert told in str(error.value)


def test_a_gigantic_image_is_refused_in_a_file_and_resized_as_an_array(classifier) -> None:
    side = 9000
    stored = io.BytesIO()
    Image.new("1", (side, side)).save(stored, "PNG")  # 81 million pixels in 10 kB
    with pytest.raises(zoo.ImageError, match="is too large") as error:
        classifier.predict(stored.getvalue())
    assert error.value.kind == "too large"
    black = np.broadcast_to(np.uint8(0), (side, side))  # whoever has an array has its memory
    assert classifier.predict(black).label == classifier.predict(black[:8, :8]).label


def test_arrays_of_any_kind_and_order_in_memory_give_the_same_answer(classifier) -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 11), dtype=np.uint8)
    forms = [
        np.asfortranarray(image),
        image.view(np.matrix),
        np.ma.array(image),
        image.repeat(2, axis=1)[:, ::2],
    ]
    assert [classifier.predict(form) for form in forms] == [classifier.predict(image)] * len(forms)


def test_equally_likely_labels_are_ranked_in_their_own_order(classifier) -> None:
    (prediction,) = classifier._predictions(np.full((1, 10), 0.1, np.float32))
    assert [label for label, _ in prediction.ranking] == list(classifier.labels)


def test_one_image_is_no_batch(classifier, samples) -> None:
    file = samples[0][0]
    for single in (str(file), file, file.read_bytes(), Image.new("L", (8, 8)), np.zeros((8, 8, 1), np.uint8)):
        with pytest.raises(zoo.InputError, match="predict takes a single image"):
            classifier.predict_batch(single)
    with pytest.raises(zoo.InputError, match="batch_size must be 1 or more"):
        classifier.predict_batch([file], batch_size=0)


def test_an_image_that_can_not_be_read_is_named_with_its_place(classifier, samples, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(samples[0][0].read_bytes()[:40])
    with pytest.raises(zoo.ImageError, match=r"broken\.png"):
        classifier.predict(broken)
    with pytest.raises(zoo.ImageError, match=r"images\[2\].*broken\.png"):
        classifier.predict_batch([samples[0][0], samples[1][0], broken])
    with pytest.raises(zoo.InputError, match=r"images\[1\].*float32"):
        classifier.predict_batch([samples[0][0], np.zeros((8, 8), np.float32)])


def test_eight_threads_get_the_answers_that_one_gets(classifier) -> None:
    images = np.random.default_rng(0).integers(0, 256, (400, 11, 9, 1), dtype=np.uint8)
    expected = [classifier.predict(image) for image in images]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert list(pool.map(classifier.predict, images)) == expected


def test_a_classifier_can_not_be_changed(classifier) -> None:
    with pytest.raises(AttributeError):
        classifier.provider = "cuda"


@pytest.mark.parametrize("options", [{}, {"provider": "cpu", "threads": 1}], ids=str)
def test_it_is_pickled_by_its_file_and_options(digits, options, monkeypatch, tmp_path):
    monkeypatch.chdir(digits.parent)
    classifier = zoo.load(digits.name, **options)
    pickled = pickle.dumps(classifier)
    assert len(pickled) < 1000, "nothing of the session"
    monkeypatch.chdir(tmp_path)  # as a worker may be elsewhere
    again = pickle.loads(pickled)
    image = digits / "samples" / "3.png"
    assert again.predict(image) == classifier.predict(image)
    assert (again.metadata, again.provider) == (classifier.metadata, classifier.provider)
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(classifier.predict, str(image)).result() == classifier.predict(image)


def test_what_was_not_loaded_from_a_file_is_not_pickled(digits):
    loaded = zoo.load(digits)
    with pytest.raises(pickle.PicklingError, match="is pickled by its file"):
        pickle.dumps(zoo.Classifier(loaded.session, loaded.metadata, loaded.provider))
