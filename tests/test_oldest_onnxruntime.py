"""The oldest onnxruntime that the extras allow: it keeps to a file's own folder, and the runtime's tests pass on it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from environments import ROOT, clean_environment
from packaging.requirements import Requirement

# Loads a file whose weights lie above its folder, as plain onnxruntime does it.
BARE = """
import pathlib, sys, onnx, onnxruntime
from onnx import TensorProto, helper
folder = pathlib.Path(sys.argv[1])
(folder / "inside").mkdir()
(folder / "secret").write_bytes(bytes(16))
(folder / "inside" / "link").symlink_to(folder / "secret")
onnxruntime.set_default_logger_severity(4)
for location in ("../secret", str(folder / "secret"), "link"):
    weights = TensorProto(name="w", data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
    weights.external_data.add(key="location", value=location)
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", 1, ["N", 4])], [helper.make_tensor_value_info("y", 1, ["N", 4])], [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    (folder / "inside" / "model.onnx").write_bytes(model.SerializeToString())
    try:
        onnxruntime.InferenceSession(folder / "inside" / "model.onnx", providers=["CPUExecutionProvider"])
        print("read", location)
    except Exception as error:
        print("refused", location)
"""


def oldest() -> str:
    """The version that the extra `cpu` names as its lowest."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    (requirement,) = map(Requirement, extras["cpu"])
    (lowest,) = [each.version for each in requirement.specifier if each.operator == ">="]
    return lowest


@pytest.mark.slow
def test_the_oldest_onnxruntime_that_is_allowed_is_safe_and_runs_all(tmp_path: Path) -> None:
    """Slow, for it installs a package from the network; where it can't, the test is skipped."""
    site = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site]
    done = subprocess.run([*command, f"onnxruntime=={oldest()}"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"onnxruntime {oldest()} can't be installed: {done.stderr.strip()[-200:]}")
    environment = clean_environment() | {"PYTHONPATH": f"{site}:{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}

    def told(*arguments: str | Path) -> str:
        run = subprocess.run(
            [sys.executable, *arguments], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
        return run.stdout

    assert told("-c", "import onnxruntime; print(onnxruntime.__version__)").strip() == oldest()
    (tmp_path / "bare").mkdir()
    lines = told("-c", BARE, tmp_path / "bare").splitlines()
    assert [line.split()[0] for line in lines] == ["refused"] * 3
    assert " passed" in told("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/runtime")
    assert "mutants" in told("tests/runtime/mutated_exports.py", "--count", "1000")
