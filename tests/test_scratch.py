"""Temporary folders are removed, by the next one if their process was killed."""

import os
import subprocess
import sys

import pytest

from fedpoison.scratch import LOCK, scratch_folder

KILLED = """
import os, signal, sys
from pathlib import Path
from fedpoison.scratch import scratch_folder
with scratch_folder("runs-", Path(sys.argv[1])) as folder:
    (folder / "model").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_folder_of_a_killed_process_is_removed_by_the_next_one(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    subprocess.run([sys.executable, "-c", KILLED, tmp_path], env=environment, check=False)
    (left,) = tmp_path.iterdir()
    assert (left / "model").is_file()
    with scratch_folder("runs-", tmp_path) as folder:
        assert [*tmp_path.iterdir()] == [folder]
    assert [*tmp_path.iterdir()] == []


def test_folders_in_use_and_of_others_stay(tmp_path):
    (tmp_path / "runs-by-hand").mkdir()
    (tmp_path / "others-1").mkdir()
    (tmp_path / "others-1" / LOCK).touch()
    with scratch_folder("runs-", tmp_path) as first, scratch_folder("runs-", tmp_path) as second:
        assert first != second
        assert first.is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["others-1", "runs-by-hand"]


def test_the_folder_is_removed_after_an_error(tmp_path):
    with pytest.raises(KeyError), scratch_folder("runs-", tmp_path):
        raise KeyError
    assert [*tmp_path.iterdir()] == []
