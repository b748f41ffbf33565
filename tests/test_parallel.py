"""One training on several devices and workers: the weights that one would come to, and what can't train together."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import parallel
import pytest
import yaml
from devices import compare_gradients, hear_the_chief, train_on
from processes import end, start
from workers import LEARNED, addresses, told, worker

from pipelines import tracking
from pipelines.cli import main
from pipelines.cli.parser import make_parser
from pipelines.core.provenance.plan import load_data, make_plan
from pipelines.tracking import TRAINED_ON
from pipelines.training.fingerprint import fingerprints
from pipelines.training.loop import checkpoint
from pipelines.training.parallel.agreement import together_fingerprint
from pipelines.training.parallel.asking import check_resumable, together_of, unfinished
from pipelines.training.parallel.workers import Cluster, check_port, cluster_of
from pipelines.training.reproduce import reproduce
from pipelines.training.train import train
from zoo.errors import ModelError, ParallelError, TrackingError

# Of a weight, relative to the largest of its array: what ten steps make of another order of sums in a dense model. In a
# model with norms and pooling a rounding may choose another pixel: there it is a few times what another library makes.
ROUNDING = 1e-4
TIMES = 5

CLUSTER = {"chief": ["a:1"], "worker": ["b:2", "c:3"]}


# --- who trains together -------------------------------------------------------------------------------------------


def test_workers_are_counted_from_0_and_the_first_is_the_chief():
    first, second = (cluster_of("a:1, b:2", worker) for worker in range(2))
    assert first.is_chief and not second.is_chief
    assert second == Cluster(("a:1", "b:2"), 1)
    assert second.others == "a:1"


@pytest.mark.parametrize(
    "jobs, task, expected",
    [
        (CLUSTER, ("chief", 0), 0),  # Kubeflow's TFJob, Vertex AI
        (CLUSTER, ("worker", 1), 2),
        ({"master": ["a:1"], "worker": ["b:2", "c:3"]}, ("worker", 0), 1),  # as Vertex AI called it before
        ({"worker": ["a:1", "b:2", "c:3"], "ps": []}, ("worker", 2), 2),
    ],
    ids=str,
)
def test_tf_config_says_who_they_are(monkeypatch, jobs, task, expected):
    kind, index = task
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": jobs, "task": {"type": kind, "index": index}}))
    assert cluster_of("tf-config", None) == Cluster(("a:1", "b:2", "c:3"), expected)


@pytest.mark.parametrize(
    "options, reason",
    [
        ({"workers": "a:1,b:2", "worker": 3}, "there is no worker 3 of 2: they are counted from 0 to 1"),
        ({"workers": "a:1,b:2", "worker": -1}, "there is no worker -1 of 2"),
        ({"workers": "a:1,b:2"}, "which of the 2 workers is this? add --worker"),
        ({"workers": "a:1", "worker": 0}, "there is one worker: leave out --workers"),
        ({"workers": "a:1,a:1", "worker": 0}, "two workers have one address"),
        ({"workers": "a,b:2", "worker": 0}, "a worker's address is host:port, received 'a'"),
        ({"workers": "a:1,b:70000", "worker": 0}, "received 'b:70000'"),
        ({"workers": "http://a:1,b:2", "worker": 0}, "received 'http://a:1'"),
        ({"worker": 0}, "add --workers"),
        ({"workers": "a:1,b:2", "worker": 0, "devices": 2}, "leave out --devices"),
        ({"workers": "a:1,b:2", "worker": 0, "resume": "abc"}, "leave out --resume"),
        ({"workers": "a:1,b:2", "worker": 0, "time": 60.0}, "set the number of epochs instead"),
        ({"devices": 2, "time": 60.0}, "set the number of epochs instead"),
        ({"devices": 0}, "expected a number of devices or all, received 0"),
        ({"devices": "two"}, "expected a number of devices or all, received 'two'"),
        ({"workers": "tf-config", "worker": 0}, "leave out --worker"),
        ({"workers": "tf-config"}, "which isn't set"),
    ],
    ids=str,
)
def test_what_can_not_train_together_is_refused(monkeypatch, options, reason):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    asked = {"devices": None, "workers": None, "worker": None, "time": None, "resume": None, **options}
    with pytest.raises(ParallelError) as refusal:
        together_of(**asked)
    assert reason in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_training_alone_among_workers_is_reported(monkeypatch, caplog):
    nothing = {"devices": None, "workers": None, "worker": None, "time": None, "resume": None}
    task = {"type": "worker", "index": 0}
    for workers, reports in ((["a:1"], 0), (["a:1", "b:2"], 1)):
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": workers}, "task": task}))
        assert together_of(**nothing) is None
        assert len(caplog.messages) == reports
    assert "TF_CONFIG names 2 workers, of which this one trains alone: --workers tf-config" in caplog.text


@pytest.mark.parametrize(
    "text, reason",
    [
        ("{", "TF_CONFIG isn't what TensorFlow expects"),
        ("[]", "TF_CONFIG isn't what TensorFlow expects"),
        ('{"cluster": {"worker": ["a:1", "b:2"]}}', "'task'"),
        ('{"cluster": {"worker": ["a:1"], "ps": ["b:2"]}, "task": {"type": "ps", "index": 0}}', "tasks of type ps"),
        ('{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "evaluator", "index": 0}}', "'evaluator'"),
        ('{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 2}}', "no worker 2 of 2"),
    ],
)
def test_a_tf_config_that_says_something_else_is_refused(monkeypatch, text, reason):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ParallelError) as refusal:
        cluster_of("tf-config", None)
    assert reason in str(refusal.value)


def test_a_port_that_is_taken_is_refused_at_once():
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ParallelError, match=rf"port {port} of worker 0 can't be opened \(Address already in use\)"):
            check_port(Cluster((f"127.0.0.1:{port}", "127.0.0.1:1"), 0))
    check_port(Cluster((f"127.0.0.1:{port}", "127.0.0.1:1"), 0))


@pytest.mark.parametrize(
    "words, code, reason",
    [
        (["--devices", "2", "--workers", "a:1,b:2", "--worker", "0"], 1, "leave out --devices"),
        (["--workers", "a:1,b:2", "--worker", "3"], 1, "there is no worker 3 of 2"),
        (["--devices", "-1"], 2, "--devices"),
        (["--devices", "2", "--find-rate"], 2, "can't be combined"),
        (["--workers", "a:1,b:2", "--worker", "0", "--plot", "rate.png"], 2, "--plot requires --find-rate"),
    ],
)
def test_the_command_refuses_them_in_one_sentence(tmp_path, monkeypatch, capsys, words, code, reason):
    monkeypatch.chdir(tmp_path)
    try:
        found = main(["train", "mlp-small", "--data", "digits", *words])
    except SystemExit as ended:
        found = ended.code
    assert found == code
    assert reason in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


def test_a_run_goes_on_in_the_way_that_it_began():
    run, together = "1234abcd", {TRAINED_ON: "2 devices"}
    check_resumable(run, {}, None)
    check_resumable(run, together, object())
    with pytest.raises(TrackingError, match="was trained on 2 devices: add --devices, with any number"):
        check_resumable(run, together, None)
    with pytest.raises(TrackingError, match="was trained without --devices: leave it out"):
        check_resumable(run, {}, object())
    again = "the same command again for all workers"
    for tags, command in (
        ({}, "zoo train --resume 1234abcd"),
        (together, "zoo train --resume 1234abcd --devices all"),
        ({tracking.TRAINED_ON: "4 devices of 2 workers"}, again),
        ({tracking.TRAINED_ON: "4 devices of 2 workers, then 2 devices of 2 workers from epoch 3"}, again),
        (
            {tracking.TRAINED_ON: "4 devices of 2 workers, then 2 devices from epoch 3"},
            "zoo train --resume 1234abcd --devices all",
        ),
        ({tracking.SWEEP: "shades"}, "its zoo sweep command again"),
    ):
        assert tracking.resumed_by(run, tags) == command


def test_a_damaged_run_is_left_out_of_those_that_workers_continue(store):
    plan = make_plan("softmax", "digits")

    def a_run(status):
        run = tracking.start_run(plan, load_data(plan), {}, fingerprint=together_fingerprint(plan))
        checkpoint.save(checkpoint.Checkpoint(1, "float32", (), None), run)
        if status != "RUNNING":
            tracking.finish(run, status)
        return run

    killed, running, damaged = map(a_run, ("KILLED", "RUNNING", "KILLED"))
    (store / "mlruns" / "artifacts" / damaged / "artifacts" / "plan.json").write_text('{"model": ', encoding="utf-8")
    assert unfinished(plan) == running
    checkpoint.delete(running)
    assert unfinished(plan) == killed
    checkpoint.delete(killed)
    assert unfinished(plan) is None


def test_the_texts_for_kubernetes_and_slurm_are_what_their_readers_take():
    page = (Path(__file__).parents[1] / "docs" / "parallel.md").read_text(encoding="utf-8")
    (job,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    found = yaml.safe_load(job)
    (container,) = found["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"]["containers"]
    options = make_parser().parse_args(container["command"][1:])
    assert (options.workers, options.worker) == ("tf-config", None)
    (script,) = (text for text in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if "#SBATCH" in text)
    hosts = script.replace('scontrol show hostnames "$SLURM_JOB_NODELIST"', "printf 'n0\\nn1\\n'")
    hosts = hosts.replace("srun bash -c 'zoo", "SLURM_PROCID=1 bash -c 'echo")
    words = subprocess.run(["bash", "-ec", hosts], capture_output=True, text=True, check=True).stdout.split()
    options = make_parser().parse_args(words)
    assert cluster_of(options.workers, options.worker) == Cluster(("n0:12345", "n1:12345"), 1)


# --- on one device -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def layers():
    from zoo.models import layers

    return layers


def test_more_devices_than_there_are_are_refused():
    from pipelines.training.parallel.team import team_of

    with pytest.raises(ParallelError, match="--devices asks for 64: take all, or fewer"), team_of(64, None):
        pass


def test_a_worker_that_nothing_watches_over_says_so(monkeypatch, caplog):
    import tensorflow as tf

    from pipelines.training.parallel.team import team_of

    def gone(*_, **__):
        raise tf.errors.UnavailableError(None, None, "connection reset by peer")

    monkeypatch.setattr(tf.distribute.cluster_resolver, "SimpleClusterResolver", gone)
    cluster = Cluster(tuple(addresses(2).split(",")), 1)
    with pytest.raises(ParallelError, match="worker 1 has lost another one"), team_of(None, cluster):
        pass
    assert [each.getMessage() for each in caplog.records if each.levelname == "WARNING"] == [
        "nothing watches over worker 1 of 2: where another one is lost, it may crash, or wait forever; the command "
        "`zoo train` ends it then"
    ]


def test_a_copy_for_several_devices_is_the_same_bit_for_bit_on_one(layers):
    import keras

    from pipelines.training.loop.fused_norms import with_fused_norms
    from pipelines.training.parallel.layers import copy_for_pieces

    keras.utils.set_random_seed(1)
    images = keras.Input((4, 4, 2))
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(3, 3, name="conv")(images))
    model = with_fused_norms(keras.Model(images, layers.Dropout(0.4, name="dropout")(x)))
    copy = copy_for_pieces(model)
    batch = np.random.default_rng(0).normal(size=(8, 4, 4, 2)).astype(np.float32)
    for training in (True, True, False):
        assert np.array_equal(model(batch, training=training), copy(batch, training=training))
    assert [weight.path for weight in model.weights] == [weight.path for weight in copy.weights]
    assert all(np.array_equal(a, b) for a, b in zip(model.variables, copy.variables, strict=True))


def test_a_layer_that_draws_in_another_way_is_refused(layers):
    import keras

    from pipelines.training.parallel.layers import copy_for_pieces

    rows = keras.Input((4,))
    with pytest.raises(ModelError, match=r"the layer noisy \(GaussianNoise\) draws random numbers for each batch"):
        copy_for_pieces(keras.Model(rows, layers.GaussianNoise(0.1, name="noisy")(rows)))


# --- on several ----------------------------------------------------------------------------------------------------


def _same(one, several, rounded=None):
    """rounded: one device again, whose sums are added up in another order."""
    for plain, other, another in zip(one, several, rounded or one, strict=True):
        expected = max(ROUNDING, TIMES * parallel.largest_difference(plain.weights, another.weights))
        assert parallel.largest_difference(plain.weights, other.weights) < expected
        assert abs(plain.loss - other.loss) < expected  # of one number, rounding may by luck leave any digit


def test_two_devices_learn_what_one_does(tmp_path):
    """A dense model with dropout, on augmented images: the other models are slow to compile."""
    work = parallel.cells(["mlp-small"], ["adamw"], epochs=1, augmentation="strong")
    _same(*parallel.on_one_and_on_devices(work, tmp_path))


@pytest.mark.slow  # ten models are compiled
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("model", parallel.MODELS)
def test_two_devices_learn_what_one_does_in_each_family(tmp_path, model):
    work = parallel.cells([model])
    _same(*parallel.on_one_and_on_devices(work, tmp_path), parallel.on_one(work, tmp_path, onednn=False))


@pytest.mark.slow  # ten models are compiled, in each of three processes
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("model", parallel.MODELS)
def test_two_workers_learn_what_one_does_in_each_family(tmp_path, model):
    work = parallel.cells([model])
    one, rounded = (parallel.on_one(work, tmp_path, onednn=onednn) for onednn in (True, False))
    _same(one, parallel.on_workers(work, tmp_path), rounded)


@pytest.mark.slow  # a process that starts TensorFlow
@pytest.mark.parametrize("model", ["conv-small", "separable-small", "resnet20"])
def test_synchronized_norms_change_a_gradient_no_more_than_another_order_of_the_images_does(tmp_path, model):
    """On three devices, between which 250 images don't divide."""
    assert end(start(tmp_path, compare_gradients, model=model, devices=3)) == 0
    found = json.loads((tmp_path / "gradients.json").read_text(encoding="utf-8"))
    assert len(found) > 15
    assert max(each["devices"] for each in found.values()) < TIMES * max(each["order"] for each in found.values())
    middle = {kind: float(np.median([each[kind] for each in found.values()])) for kind in ("devices", "order")}
    assert middle["devices"] < 2 * middle["order"] < 1e-2  # 4e-3 in separable-small


# --- as a run, from its beginning to its end -----------------------------------------------------------------------

RUN = {"model": "mlp-small", "data": "digits"}


def _final(run_id):
    return tracking.load_keras_model(run_id).get_weights()


def _on(folder, parts, devices, request, **more):
    assert end(start(folder, train_on, parts=parts, devices=devices, request=request, **more)) == 0


@pytest.mark.slow  # five processes that start TensorFlow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("changes", [{}, {"average": "ema", "optimizer": "muon"}, {"images": "all"}], ids=str)
def test_a_run_of_two_devices_goes_on_with_three_to_the_weights_of_one(store, changes):
    request = {**RUN, "settings": {**LEARNED, "epochs": 9, **changes}}  # validated, and kept, every third epoch
    _on(store, 1, None, request)
    plain = (store / "run.txt").read_text(encoding="utf-8")

    _on(store, 2, 2, request, interrupted_in=6)
    assert "zoo train --resume" in (store / "interrupted.txt").read_text(encoding="utf-8")
    (begun,) = (run.info.run_id for run in tracking.search("status = 'KILLED'"))
    assert checkpoint.load(begun).epoch == 3
    with pytest.raises(TrackingError, match="was trained on 2 devices: add --devices"):
        train(resume=begun)
    _on(store, 3, 3, {"resume": begun})

    run = tracking.load_run(begun)
    assert run.status == "FINISHED"
    assert run.facts["devices"] == "2"
    assert run.tags[TRAINED_ON] == "2 devices, then 3 devices from epoch 3"
    assert parallel.largest_difference(_final(plain), _final(begun)) < ROUNDING
    assert run.metrics["best_epoch"] == tracking.load_run(plain).metrics["best_epoch"]
    with pytest.raises(TrackingError, match="was trained on 2 devices, then 3 devices"):
        reproduce(begun)
    assert tracking.find_finished(run.plan, fingerprints(run.plan)) == plain  # for `zoo run` it is another


@pytest.mark.slow  # three processes that start TensorFlow
@pytest.mark.timeout(1800)
def test_features_of_another_model_are_trained_on_by_two_devices_as_by_one(store):
    _on(store, 1, None, {**RUN, "model": "lenet5", "settings": LEARNED})
    source = (store / "run.txt").read_text(encoding="utf-8")
    request = {**RUN, "model": "lenet5", "source": f"runs:/{source}", "settings": {**LEARNED, "epochs": 4}}
    found = []
    for parts, devices in ((1, None), (2, 2)):
        _on(store, parts, devices, request)
        found.append(_final((store / "run.txt").read_text(encoding="utf-8")))
    assert parallel.largest_difference(*found) < ROUNDING


@pytest.mark.slow  # two processes that start TensorFlow
@pytest.mark.timeout(1800)
def test_a_new_head_learns_on_one_device_before_two_train_all_layers_as_one_does(store):
    """Without validation images, so that the last weights are kept."""
    source = str(Path(__file__).parents[1] / "exports" / "fashion-mnist" / "lenet5")
    settings = {**LEARNED, "epochs": 2, "views": 2, "frozen": 0.0, "images": "all"}
    found = []
    for parts, devices in ((1, None), (2, 2)):
        _on(store, parts, devices, {**RUN, "model": "lenet5", "source": source, "settings": settings})
        run = tracking.load_run((store / "run.txt").read_text(encoding="utf-8"))
        assert "head_weight_decay" in run.tags
        found.append(_final(run.run_id))
    assert parallel.largest_difference(*found) < ROUNDING


@pytest.mark.slow  # two processes that start TensorFlow
@pytest.mark.timeout(1800)
def test_workers_hear_what_the_chief_says_and_that_it_says_nothing(tmp_path):
    """Nothing is what it says after most validations: sums of it crashed within 300 steps."""
    texts = ["", "stopped early", "", "größer", *[""] * 500]
    processes = []
    for index, where in enumerate([addresses(2)] * 2):
        (tmp_path / str(index)).mkdir()
        processes.append(start(tmp_path / str(index), hear_the_chief, where=where, index=index, texts=texts))
    assert [end(process, 900) for process in processes] == [0, 0]
    assert [json.loads((tmp_path / f"{k}/heard.json").read_text(encoding="utf-8")) for k in range(2)] == [texts, texts]


# --- workers, as commands ------------------------------------------------------------------------------------------


@contextmanager
def _store_of(folder, index):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder / f"worker{index}")
        yield


def _other_code(folder):
    """The project with another arithmetic."""
    here = Path(__file__).resolve().parents[1]
    for name in ("zoo", "pipelines"):
        shutil.copytree(here / name, folder / "code" / name, ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / "code" / "pipelines" / "training" / "loop" / "optimizer_and_schedule.py"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("LEAST_INPUTS = 16", "LEAST_INPUTS = 17"), encoding="utf-8")
    return folder / "code"


def _other_images(folder):
    """The digits, of which one pixel differs."""
    from sklearn.datasets import load_digits

    words = []
    for index in range(2):
        images, labels = load_digits(return_X_y=True)
        images = (images.reshape(-1, 8, 8) * 15).astype(np.uint8)
        images[0, 0, 0] = index
        np.savez(folder / f"digits{index}.npz", x_train=images, y_train=labels)
        words.append(("--data", str(folder / f"digits{index}.npz")))
    return words


@pytest.mark.slow  # processes that start TensorFlow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("what", ["code version", "data digest", "recipe"])
def test_a_worker_that_was_started_with_something_else_is_refused(tmp_path, what):
    where = addresses(2)
    words = {"data digest": _other_images(tmp_path), "recipe": [(), ("--set", "seed=2")]}.get(what, [(), ()])
    code = [None, _other_code(tmp_path) if what == "code version" else None]
    processes = [worker(tmp_path, where, k, *words[k], code=code[k]) for k in range(2)]
    assert [process.wait(900) for process in processes] == [1, 1], told(tmp_path, 0) + told(tmp_path, 1)
    for index in range(2):
        assert told(tmp_path, index).count("zoo: worker 1") == 1
        assert f"zoo: worker 1 ({where.split(',')[1]}) has another {what}" in told(tmp_path, index)
    with _store_of(tmp_path, 0):
        assert not tracking.search("")
