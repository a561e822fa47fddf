"""Names of users' code: their canonical form, where their content is found, and errors."""

import pickle
import sys

import pytest

from fedpoison import own_code
from fedpoison.errors import ScenarioError
from fedpoison.own_code import files_in, read_code_name, remember, with_paths

CODE = "from sibling import SIZE\n\n\nclass MyRule:\n    size = SIZE\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a file that imports its neighbour, and a process that has read neither."""
    (tmp_path / "my_file.py").write_text(CODE)
    (tmp_path / "sibling.py").write_text("SIZE = 7\n")
    monkeypatch.setattr(own_code, "_files", {})
    before = {*sys.modules}
    yield tmp_path
    for name in {*sys.modules} - before:
        del sys.modules[name]


def test_the_canonical_name_contains_the_content_and_no_folder(folder):
    name = read_code_name(f"{folder}/my_file.py:MyRule")
    assert name.load().size == 7
    copied = folder / "copy"
    copied.mkdir()
    (copied / "my_file.py").write_text(CODE)
    assert str(read_code_name(f"{copied}/my_file.py:MyRule")) == str(name)
    (copied / "my_file.py").write_text(CODE + "# changed\n")
    assert str(read_code_name(f"{copied}/my_file.py:MyRule")) != str(name)


def test_the_code_runs_once_per_process(folder):
    first, again = (read_code_name(f"{folder}/my_file.py:MyRule").load() for _ in range(2))
    assert first is again
    assert str(folder) not in sys.path


def test_a_process_finds_the_content_of_a_canonical_name(folder, monkeypatch):
    canonical = str(read_code_name(f"{folder}/my_file.py:MyRule"))
    pickled = pickle.dumps(read_code_name(canonical))
    monkeypatch.setattr(own_code, "_files", {})  # as in another process, on another machine
    unknown = read_code_name(canonical)
    assert not unknown.available
    with pytest.raises(ScenarioError, match=r"expected this file in the current folder\. Give its path"):
        unknown.load()
    assert pickle.loads(pickled).available  # noqa: S301  # written by this test
    assert read_code_name(canonical).load().__name__ == "MyRule"
    monkeypatch.setattr(own_code, "_files", {})
    monkeypatch.chdir(folder)
    assert read_code_name(canonical).available
    monkeypatch.setattr(own_code, "_files", {})
    remember("my_file.py", CODE.encode())  # as from the folder of a stored run
    assert [file.name for file in files_in(f"{canonical} | median")] == ["my_file.py"]


def test_a_spec_for_another_process_has_the_path_of_an_unchanged_file(folder):
    canonical = str(read_code_name(f"{folder}/my_file.py:MyRule"))
    assert with_paths(f"nnm | {canonical}(size=3)") == f"nnm | {folder}/my_file.py:MyRule(size=3)"
    assert with_paths("flwr:FedAvg") == "flwr:FedAvg"
    (folder / "my_file.py").write_text("")
    with pytest.raises(ScenarioError, match=r"my_file\.py: has changed since it was read"):
        with_paths(canonical)


def test_a_module_is_named_by_its_path_in_the_package(folder, monkeypatch):
    monkeypatch.chdir(folder)
    name = read_code_name("sibling:SIZE")
    assert name.load() == 7
    assert str(name).startswith("sibling@")
    changed = read_code_name("sibling@000000000000:SIZE")
    with pytest.raises(ScenarioError, match="the code of sibling has changed"):
        changed.load()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.py:MyRule", r"missing\.py: cannot be read"),
        ("my_file.py:MyRul", r"got the name 'MyRul', expected one of MyRule\."),
        ("broken.py:MyRule", r"broken\.py: the code raised SyntaxError"),
        ("raising.py:MyRule", "the code raised ZeroDivisionError: division by zero; correct the code"),
        ("no_such_package.module:MyRule", "the code raised ModuleNotFoundError"),
    ],
)
def test_an_error_names_the_file_and_the_cause(folder, monkeypatch, name, words):
    (folder / "broken.py").write_text("def\n")
    (folder / "raising.py").write_text("1 / 0\n")
    monkeypatch.chdir(folder)
    with pytest.raises(ScenarioError, match=words):
        read_code_name(name).load()
