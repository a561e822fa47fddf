"""`import fedpoison as fp` offers its public names, and loads nothing heavy for them."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import fedpoison as fp
from clients import ATTACKS
from strategies import OPTIMIZERS, PREAGGREGATORS, STRATEGIES


@pytest.mark.parametrize("name", fp.__all__)
def test_a_public_name_is_that_of_its_module(name):
    value = getattr(fp, name)
    if isinstance(value, ModuleType):
        assert value is sys.modules[f"fedpoison.{name}"]
    else:
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


def test_rules_and_attacks_offer_every_registered_class():
    for module, registries in ((fp.rules, [STRATEGIES, PREAGGREGATORS, OPTIMIZERS]), (fp.attacks, [ATTACKS])):
        for registry in registries:
            assert all(vars(module)[entry.__name__] is entry for entry in registry.values())


@pytest.mark.parametrize("hiding", ["clients.py", "strategies/__init__.py"])
def test_a_module_that_hides_ours_is_named(tmp_path, hiding):
    (tmp_path / hiding).parent.mkdir(exist_ok=True)
    (tmp_path / hiding).write_text("")
    done = subprocess.run(
        [sys.executable, "-c", "import fedpoison"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    name = Path(hiding).parts[0].removesuffix(".py")
    assert done.stderr.splitlines()[-1].startswith(
        f"ImportError: {tmp_path / hiding} hides the package '{name}' of fedpoison in "
    )
    assert done.stderr.rstrip().endswith("rename it, or run Python from another folder.")
