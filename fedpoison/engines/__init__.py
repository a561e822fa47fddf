"""Engines that compute clients: threads, a GPU, Ray actors or Flower's simulation runtime."""

from typing import TYPE_CHECKING

from fedpoison.registry import lazy_names

if TYPE_CHECKING:
    from fedpoison.engines.options import Engine as Engine
    from fedpoison.engines.options import EngineOptions as EngineOptions

__getattr__, __dir__, __all__ = lazy_names(
    __name__, {"fedpoison.engines.options": ["Engine", "EngineOptions"]}
)
