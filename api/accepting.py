"""Store jobs: those of a tenant that come at the same time in one transaction, at hardly more than the cost of one."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from fastapi import Response
from sqlalchemy.orm import Session

from api.asking import check_references
from api.job_views import AcceptedJob, show_job
from api.job_webhooks import webhook_of_job
from api.served import NoWorker, models_missing, workers_not_ready
from api.submissions import Submission
from api.webhook_views import JobWebhook
from db import queries
from db.announcing import announced
from db.queries import Progress
from db.states import PassKind
from db.submitting import NewJob, Submitted, submit_jobs
from db.together import LOST, Together

if TYPE_CHECKING:
    from api.idempotency import Once
    from api.services import Services

LARGE = 100  # recordings; a job of more goes alone, and nobody waits for its rows


@dataclass(frozen=True)
class Asked:
    """One submission that is complete and correct as far as it shows without the database."""

    new: NewJob
    submission: Submission
    once: Once


@dataclass(frozen=True)
class _Admitted:
    """One that may come in."""

    asked: Asked
    new: NewJob
    warnings: Sequence[str]
    webhook: JobWebhook | None = None


class Accepting:
    """The submissions that wait at the moment, by tenant; safe to share between threads.

    A session is of one tenant, so each has a queue of its own. Whoever is refused takes nobody with him: then each
    of his batch is tried alone.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_tenant: dict[str, Together[Asked, Response]] = {}

    def accept(self, services: Services, asked: Asked) -> Response:
        """Store a job and ring for its work; returns the answer, which is the first one for a repeated key.

        Raises ``TooManyQueued``, ``InvalidField``, ``NoWorker``, ``KeyInFlight``, ``KeyReused``.
        """
        tenant = asked.new.tenant
        if len(asked.new.uris) > LARGE:
            return _store(services, tenant, [asked])[0]
        with self._lock:
            together = self._by_tenant.get(tenant)
            if together is None:
                together = self._by_tenant[tenant] = Together(partial(_store, services, tenant), LOST)
        return together(asked)


def _store(services: Services, tenant: str, batch: Sequence[Asked]) -> list[Response]:
    """Store what comes in of a batch, in one transaction; raises for the whole batch what one of it is refused for."""
    with services.database.write(tenant) as session:
        first_answers = [asked.once.look_up(session) for asked in batch]
        admitted: list[_Admitted] = []
        for asked, answer in zip(batch, first_answers, strict=True):
            if answer is None:
                pending = sum(len(one.new.uris) for one in admitted)
                admitted.append(_admit(services, session, asked, pending))
        admitted = _with_webhooks(services, session, admitted)
        stored = submit_jobs(session, [one.new for one in admitted]) if admitted else []
        answers = iter(
            [
                _answer(session, services, one, submitted)
                for one, submitted in zip(admitted, stored, strict=True)
            ]
        )
        answered: list[Response] = [answer or next(answers) for answer in first_answers]
    services.ring(PassKind.PLAN, sum(len(one.new.uris) for one in admitted))
    services.ring(PassKind.EXPAND, sum(len(one.new.sources) for one in admitted))
    services.ring(PassKind.DELIVER, announced(session))
    return answered


def _admit(services: Services, session: Session, asked: Asked, pending: int) -> _Admitted:
    settings, new = services.settings, asked.new
    check_references(session, new.tenant, asked.submission.tasks)
    services.admission.admit(
        session,
        new.tenant,
        len(new.uris),
        own=settings.max_queued,
        total=settings.max_queued_total,
        pending=pending,
    )
    warnings = models_missing(session, services.served, new.requests)
    if warnings and asked.submission.if_no_worker == "refuse":
        raise NoWorker("; ".join(warnings))
    warnings += workers_not_ready(session, services.served, new.requests)
    return _Admitted(asked, new, warnings)


def _with_webhooks(services: Services, session: Session, admitted: Sequence[_Admitted]) -> list[_Admitted]:
    """Find or make the webhooks that jobs name, and return the jobs with them, in their own order.

    By URL, and only when all have been admitted: processes that store the same webhooks wait for each other's rows,
    and near a limit take turns, so everybody has to take both in one order.
    """
    found = list(admitted)
    for place in sorted(range(len(found)), key=lambda place: found[place].asked.submission.webhook or ""):
        one = found[place]
        url = one.asked.submission.webhook
        webhook = webhook_of_job(session, one.new.tenant, url, services.settings)
        if webhook is not None:
            found[place] = replace(one, new=replace(one.new, webhook_id=webhook.id), webhook=webhook)
    return found


def _answer(session: Session, services: Services, admitted: _Admitted, stored: Submitted) -> Response:
    job = stored.job
    sources = queries.list_sources(session, job.tenant, job.id) if admitted.new.sources else []
    shown = show_job(job, stored.requests, Progress.none(), sources, admitted.warnings)
    accepted = AcceptedJob(**vars(shown), webhook=admitted.webhook)
    admitted.asked.once.keep(session, 202, accepted, job_id=job.id)
    return Response(
        accepted.model_dump_json(),
        status_code=202,
        headers={"Location": f"/v1/jobs/{job.id}"},
        media_type="application/json",
    )
