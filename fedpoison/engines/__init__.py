"""Engines that compute clients: threads, a GPU, Ray actors or Flower's simulation runtime."""

from fedpoison.engines.options import Engine, EngineOptions

__all__ = ["Engine", "EngineOptions"]
