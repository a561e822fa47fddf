"""Run the tests of `fedpoison.flower` with the oldest and the newest Flower that pyproject.toml allows.

`python -m experiments.flower_versions` creates an environment per version. It sees the packages of the
current environment, and installs only Flower itself. `--only newest` runs one end.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "flower"
TESTS = "tests/flower"


def ends() -> dict[str, str]:
    """Return the requirement of the oldest and of the newest allowed version of Flower."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (allowed,) = (text for text in project["dependencies"] if text.startswith("flwr"))
    name, oldest = re.fullmatch(r"(flwr\[simulation\])>=([\d.]+),<[\d.]+", allowed).groups()  # type: ignore[union-attr]
    return {"oldest": f"{name}=={oldest}.*", "newest": allowed}


def create(name: str, requirement: str) -> Path:
    """Create an environment with one version of Flower and return its Python."""
    folder = FOLDER / name
    venv.create(folder, with_pip=True, clear=True)
    python = folder / "bin" / "python"
    inside = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    (folder / inside / "parent.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    install = [str(python), "-m", "pip", "install", "--quiet"]
    # Flower itself is installed even if the parent has this version, because its programs belong here.
    subprocess.run([*install, "--ignore-installed", "--no-deps", requirement], check=True)
    subprocess.run([*install, requirement], check=True)
    return python


def run_tests(python: Path, tests: list[str]) -> int:
    """Run tests with a Python and return the exit code of pytest."""
    shown = "import importlib.metadata as m; print('flwr', m.version('flwr'))"
    subprocess.run([python, "-c", shown], check=True)
    path = os.pathsep.join([str(python.parent), os.environ.get("PATH", "")])
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": path}
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def main() -> int:
    """Run the tests with both versions and return 0 if all passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["oldest", "newest"], help="End of the range. Default: both.")
    parser.add_argument("tests", nargs="*", default=[TESTS], help="Tests to run. Default: tests/flower.")
    options = parser.parse_args()
    chosen = {name: text for name, text in ends().items() if options.only in (None, name)}
    codes = [run_tests(create(name, requirement), options.tests) for name, requirement in chosen.items()]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
