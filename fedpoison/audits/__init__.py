"""The audit: one rule against a fixed protocol of attacks, tuned against this rule, and the worst case."""

from typing import TYPE_CHECKING

from fedpoison.registry import lazy_names

if TYPE_CHECKING:
    from fedpoison.audits.audit import audit as audit
    from fedpoison.audits.card import AuditCard as AuditCard
    from fedpoison.audits.leaderboard import Leaderboard as Leaderboard
    from fedpoison.audits.protocol import AUDIT_1 as AUDIT_1
    from fedpoison.audits.protocol import AUDIT_2 as AUDIT_2
    from fedpoison.audits.protocol import LATEST as LATEST
    from fedpoison.audits.protocol import Budget as Budget
    from fedpoison.audits.protocol import Protocol as Protocol

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "fedpoison.audits.audit": ["audit"],
        "fedpoison.audits.card": ["AuditCard"],
        "fedpoison.audits.leaderboard": ["Leaderboard"],
        "fedpoison.audits.protocol": ["AUDIT_1", "AUDIT_2", "LATEST", "Budget", "Protocol"],
    },
)
