"""The notebooks in examples/notebooks run from top to bottom, and hold no outputs in git."""

from __future__ import annotations

import ast
import json
import os
import shutil

import pytest
from environments import ROOT

FOLDER = ROOT / "examples" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_the_page_lists_each_notebook():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert NOTEBOOKS and all(f"({path.name})" in text for path in NOTEBOOKS)


@each_notebook
def test_a_notebook_is_code_and_words_without_outputs(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert {cell["cell_type"] for cell in cells} == {"markdown", "code"}
    for cell in cells:
        if cell["cell_type"] == "code":
            assert ast.parse("".join(cell["source"]))
            assert (cell["outputs"], cell["execution_count"]) == ([], None)


@pytest.mark.slow
@pytest.mark.timeout(3600)  # a minute or two on two cores that do nothing else
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")  # Jupyter's own
@each_notebook
def test_a_notebook_runs_from_top_to_bottom(path, tmp_path, monkeypatch):
    """Slow: a kernel that loads TensorFlow, and in one of them two trainings."""
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    folder = tmp_path / "examples" / "notebooks"
    folder.mkdir(parents=True)
    (tmp_path / "exports").mkdir()
    shutil.copytree(ROOT / "exports" / "digits", tmp_path / "exports" / "digits")
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    nbclient.NotebookClient(notebook, timeout=None, resources={"metadata": {"path": os.fspath(folder)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert len(outputs) >= 4
    # nbclient raises where a cell fails, but not where a slider's function does: it shows that one's traceback.
    widgets = notebook.metadata.get("widgets", {}).get("application/vnd.jupyter.widget-state+json", {}).get("state", {})
    shown = [output for widget in widgets.values() for output in widget["state"].get("outputs", ())]
    assert [output for output in (*outputs, *shown) if output["output_type"] == "error"] == []
    if path.stem == "lesson":
        texts = "".join(output.get("text", "") for output in shown)
        assert texts.count("conv-small:") == 2, "each of the two sliders showed its predictions"
