"""`import fedpoison as fp` offers its public names, and loads nothing heavy for them."""

import subprocess
import sys

import pytest

import fedpoison as fp


@pytest.mark.parametrize("name", fp.__all__)
def test_a_public_name_is_that_of_its_module(name):
    value = getattr(fp, name)
    assert value is getattr(sys.modules[value.__module__], name)
    assert value.__name__ == name


def test_an_unknown_name_is_refused():
    assert fp.__all__ == dir(fp)
    with pytest.raises(AttributeError, match="has no attribute 'simulat'"):
        fp.simulat  # noqa: B018


def test_the_import_is_light():
    packages = "fedpoison, clients.attacks.data, clients.training"
    code = f"import sys, {packages}; print({{'torch', 'flwr', 'ray', 'pandas'}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
