"""Simulate model poisoning in federated learning, and measure defences against it per class.

`import fedpoison` is fast: only the modules that need torch, Flower or Ray import them.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("fedpoison")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0.0.0"

__all__ = ["__version__"]
