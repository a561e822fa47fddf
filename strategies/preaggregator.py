"""What every pre-aggregator is given, what it gives back, and the laws it keeps."""

from __future__ import annotations

from typing import ClassVar, Protocol, runtime_checkable

from torch import Tensor

from strategies.rule import Context, Stage


@runtime_checkable
class PreAggregator(Stage, Protocol):
    """Mixes the updates of a round into rows for a rule. A frozen dataclass whose fields are its knobs.

    Calling it returns coefficients C (m, n): the m rows are the weighted sums `mixed(C, updates)`, and the
    trust that a rule has in the rows is read back as trust in the clients, `trust @ C`.

    Laws, checked on every registered pre-aggregator by the contract suite:

    - the arguments are not written to, and what is returned shares no memory with them;
    - the same arguments give the same coefficients, bit for bit, on any number of threads;
    - coefficients are float64, finite and never negative, and no row of them sums to more than 1;
    - m is `rows(n)`, at least 1, and does not fall as n grows; where `aligned`, it is n, and row i holds
      client i;
    - the card's flags are true of the rows: the order of clients only changes their order, n equal updates
      give that update in every row, the rows move and scale along with the updates, and
      without malicious clients their mean is that of the updates.
    """

    aligned: ClassVar[bool]
    """Whether row i stands for client i, so that a rule may go on telling nodes apart."""

    def rows(self, n: int) -> int:
        """Return how many rows n updates are mixed into."""

    def __call__(self, updates: Tensor, context: Context | None = None) -> Tensor:
        """Return the coefficients (m, n), float64, for `updates` (n, d).

        Raises:
            InputError: the matrix is not (n, d) floating point and finite, or the context lacks what the
                card says is needed.
            PreconditionError: n is below `minimum`.
        """
