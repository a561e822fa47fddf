"""The clients, the server, the attacker, and the messages between them."""

from typing import TYPE_CHECKING

from fedpoison.registry import lazy_names

if TYPE_CHECKING:
    from fedpoison.federation.evaluation import Evaluator as Evaluator
    from fedpoison.federation.federation import Federation as Federation
    from fedpoison.federation.server import run_server as run_server
    from fedpoison.federation.workers import Workers as Workers

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "fedpoison.federation.evaluation": ["Evaluator"],
        "fedpoison.federation.federation": ["Federation"],
        "fedpoison.federation.server": ["run_server"],
        "fedpoison.federation.workers": ["Workers"],
    },
)
