"""Hear one chunk: read its samples, ask all its requests in one pass, parse and store the answers."""

from __future__ import annotations

import time
from concurrent.futures import Future, wait
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from db.states import PassKind
from db.understanding import AskedRequest, NewResult, UnderstandWork, complete_understand, load_understand
from pipeline.tasks import get_task
from pipeline.timeline import SAMPLING_RATE, byte_range, channel_samples
from qwen_audio.answers import Answer, FinishReason
from workers.context import WorkerContext
from workers.hearing import Engine, Prefix
from workers.leases import Lease

PASS_SECONDS = 600.0  # wall clock for one chunk with all its requests
CHECK_SECONDS = 0.5  # between two looks at the lease while the engine works


class PassTooSlow(Exception):
    """The engine did not answer within the pass's time."""

    code = "pass_deadline"
    retryable = True


@dataclass(frozen=True)
class Ear:
    """A loaded engine and the name under which requests ask for it."""

    engine: Engine
    model: str

    def understand(self, context: WorkerContext, lease: Lease) -> None:
        """Work on an understand pass; the lane's ``work``."""
        claim = lease.claim
        with context.database.read() as session:
            work = load_understand(session, claim)
        results = self._ask(work, read_samples(context, work), lease) if work.requests else []
        with context.database.write() as session:
            finishes = complete_understand(session, claim, results)
        if finishes:
            context.doorbell.ring(PassKind.FINISH, count=finishes)

    def _ask(self, work: UnderstandWork, samples: NDArray[np.int16], lease: Lease) -> list[NewResult]:
        deadline = time.monotonic() + PASS_SECONDS
        prefix = self.engine.open(samples)
        try:
            branches = [_branch(prefix, request, len(samples), deadline) for request in work.requests]
            while wait(branches, timeout=CHECK_SECONDS).not_done:
                lease.check()
            return [
                self._result(request, branch.result(), len(samples))
                for request, branch in zip(work.requests, branches, strict=True)
            ]
        finally:
            prefix.close()

    def _result(self, request: AskedRequest, answer: Answer, heard_samples: int) -> NewResult:
        if answer.finish_reason in (FinishReason.DEADLINE, FinishReason.CANCELLED):
            raise PassTooSlow(f"{request.task} was not answered within {PASS_SECONDS:.0f} s")
        task = get_task(request.task)
        parsed = task.parse(answer, heard_samples, _options(request))
        return NewResult(
            request_id=request.id,
            raw_text=answer.text.replace("\x00", "\N{REPLACEMENT CHARACTER}"),  # PostgreSQL holds no NUL
            parsed=parsed,
            flags=list(parsed.get("flags", [])),
            finish_reason=answer.finish_reason,
            avg_logprob=answer.avg_logprob,
            tokens=len(answer.ids),
            model=self.model,
            model_revision=self.engine.revision,
            prompt_version=request.prompt_version,
            numbers=asdict(answer.numbers),
        )


def _options(request: AskedRequest) -> Any:
    return get_task(request.task).Options.model_validate(dict(request.options))


def _branch(prefix: Prefix, request: AskedRequest, heard_samples: int, deadline: float) -> Future[Answer]:
    task, options = get_task(request.task), _options(request)
    limit = task.limit(options, heard_samples / SAMPLING_RATE)
    return prefix.branch(task.prompt(options), limit, stop=task.stop, deadline=deadline)


def read_samples(context: WorkerContext, work: UnderstandWork) -> NDArray[np.int16]:
    """Read the heard span of the chunk's channel from the timeline: int16, shape (samples,)."""
    start, end = byte_range(work.heard_start, work.heard_end, work.channel_count)
    pcm = context.store.read(work.timeline_uri, start, end)
    return np.ascontiguousarray(channel_samples(pcm, work.channel, work.channel_count))
