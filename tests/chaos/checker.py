"""Compare what a run left behind with what its clients were told: the invariants I1 to I11, as one pure function.

Nothing here asks a database or a storage: a ``Snapshot`` goes in, the broken promises come out. Run it on a service at
rest: no work open, all processes alive again or stopped. The rules are in ``rules_jobs``, ``rules_work`` and
``rules_webhooks``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from chaos import rules_jobs, rules_webhooks, rules_work
from chaos.facts import Facts, Found, Hook, Received, Row, Snapshot, Submitted, Violation

__all__ = ["Hook", "Received", "Row", "Snapshot", "Submitted", "Violation", "check", "tally"]

_RULES: Sequence[Callable[[Facts], Found]] = (
    rules_jobs.submits,
    rules_work.results,
    rules_work.fates,
    rules_jobs.counts,
    rules_work.request_counts,
    rules_jobs.at_rest,
    rules_jobs.history,
    rules_jobs.cancels,
    rules_work.places,
    rules_webhooks.deliveries,
    rules_work.objects,
    rules_jobs.leftovers,
    rules_work.owners,
    rules_work.attempts,
)


def check(snapshot: Snapshot) -> list[Violation]:
    """Return every broken invariant; an empty list is what was promised."""
    facts = Facts(snapshot)
    return [violation for rule in _RULES for violation in rule(facts)]


def tally(violations: Iterable[Violation]) -> dict[str, int]:
    """Count what was lost, doubled and stuck."""
    counts = Counter(violation.kind for violation in violations)
    return {kind: counts[kind] for kind in ("lost", "doubled", "stuck")}
