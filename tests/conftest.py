"""What tests share: a quiet TensorFlow, a working folder of their own, and models that exist for one test only."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest

pytest.register_assert_rewrite("nothing_lost", "mlflow_pages")  # what several tests call tells what it found, too


@pytest.fixture(scope="session")
def metadata_of():
    """What an export would say of a Keras model that no run has made: the accuracy is the model's own."""

    def metadata(name, model, data_set):
        from pipelines.core.provenance.weights import weights_sha256
        from zoo.contract import Metadata
        from zoo.models import definition

        answers = model.predict_on_batch(data_set.test.inputs)["probabilities"].argmax(axis=1)
        return Metadata(
            model=name,
            family=definition(name).family,
            data_set=data_set.name,
            data_digest=data_set.digest,
            labels=data_set.labels,
            height=data_set.height,
            width=data_set.width,
            channels=data_set.channels,
            recipe={},
            run_id="0" * 32,
            commit="",
            weights_sha256=weights_sha256(model),
            test_accuracy=float((answers == data_set.test.labels).mean()),
        )

    return metadata


@pytest.fixture
def registered():
    """The `model` decorator, forgetting after the test what it registered."""
    from zoo.models import model
    from zoo.models.registry import _models

    before = dict(_models)
    yield model
    _models.clear()
    _models.update(before)
