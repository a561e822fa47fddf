"""Simulate model poisoning in federated learning, defend against it, and see the damage class by class.

Importing the package is light: torch, Flower and Ray come in with the modules that need them.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("fedpoison")
except PackageNotFoundError:  # run from a checkout that is not installed
    __version__ = "0.0.0"

__all__ = ["__version__"]
