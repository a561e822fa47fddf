"""The notebook: as it is committed, and run anew on the small data set."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
PATH = ROOT / "experiments" / "notebooks" / "poisoning.ipynb"


def outputs(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def test_it_is_committed_with_its_results_and_small():
    notebook = nbformat.read(PATH, as_version=4)
    nbformat.validate(notebook)
    kinds = {output.output_type for output in outputs(notebook)}
    assert kinds == {"display_data", "execute_result"}
    assert sum("image/png" in output.data for output in outputs(notebook)) >= 4
    assert PATH.stat().st_size < 400_000


@pytest.mark.filterwarnings("ignore")  # what the kernel's packages warn of
def test_it_runs_on_the_digits(monkeypatch, tmp_path):
    for name, value in (
        ("FEDPOISON_NOTEBOOK", "digits"),
        ("PYTHONPATH", str(ROOT)),
        ("IPYTHONDIR", str(tmp_path)),
        ("JUPYTER_RUNTIME_DIR", str(tmp_path)),
    ):
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(PATH, as_version=4)
    committed = [output.output_type for output in outputs(notebook)]
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}
    ).execute()
    assert [output.output_type for output in outputs(notebook)] == committed
