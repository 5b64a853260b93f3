"""Load and complete understand passes together: one query and one commit for all whose threads wait."""

from __future__ import annotations

from collections.abc import Sequence

from db.claims import Claim
from db.database import Database
from db.together import LOST, Together
from db.understanding import NewResult, UnderstandWork, Understood, complete_batch, load_batch


class Understanding:
    """What understand passes ask of the database, for all passes of a process at once.

    A commit and a query cost nearly the same for one pass and for many.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.load: Together[Claim, UnderstandWork] = Together(self._load, LOST)
        self._complete: Together[Understood, int] = Together(self._store, LOST)

    def complete(self, claim: Claim, results: Sequence[NewResult]) -> int:
        """Store one pass and return the finishes to ring for; when it returns, it is committed.

        Raises ``LeaseLost``, ``JobCancelled``, or what the database raised for this pass, or for all.
        """
        return self._complete(Understood(claim, results))

    def _load(self, claims: Sequence[Claim]) -> Sequence[UnderstandWork | Exception]:
        with self._database.read() as session:
            return load_batch(session, claims)

    def _store(self, heard: Sequence[Understood]) -> Sequence[int | Exception]:
        with self._database.write() as session:
            return complete_batch(session, heard)
