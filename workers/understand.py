"""Hear one chunk: read its samples, let all its tasks ask in one pass, store what they understood."""

from __future__ import annotations

import logging
import math
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from db.states import PassKind
from db.understanding import (
    AskedRequest,
    NewResult,
    UnderstandWork,
    load_reference,
)
from pipeline.hearing import Hearings
from pipeline.tasks import get_task
from pipeline.tasks.parsed import FLAG_OF_ENDING, Parsed, mean_logprob
from pipeline.tasks.questions import HeardChunk, Hearing, Question
from pipeline.timeline import byte_range, channel_samples
from qwen_audio.answers import Answer, FinishReason
from qwen_audio.errors import EngineClosed, EngineOutOfMemory
from workers.context import WorkerContext
from workers.hearing import ChunkTalk, Engine
from workers.leases import Lease
from workers.watchdog import crash, is_sticky

logger = logging.getLogger(__name__)

PASS_SECONDS = 600.0  # wall clock for one chunk with all its requests


def end_this_process() -> None:
    """Ask this process to end: it gives back what it holds, and whoever supervises it starts another."""
    os.kill(os.getpid(), signal.SIGTERM)


@dataclass(frozen=True)
class Ear:
    """A loaded engine and the name under which requests ask for it.

    An engine that ran out of memory does not come back: ``end`` lets the process give back what it holds. One that
    ended for another reason, or whose device answers nothing but one error, may have been brought down by what it
    heard: ``crash`` ends the process with its leases held, so that it counts.
    """

    engine: Engine
    model: str
    end: Callable[[], None] = end_this_process
    crash: Callable[[], None] = crash

    def understand(self, context: WorkerContext, lease: Lease) -> None:
        """Work on an understand pass; the lane's ``work``."""
        claim = lease.claim
        work = context.understanding.load(claim)
        references = {one: read_reference(context, claim.tenant, one) for one in referenced(work.requests)}
        samples = read_samples(context, work)
        try:
            results = self._hear(work, samples, references, lease) if work.requests else []
        except EngineOutOfMemory as error:
            logger.error("%s is of no use any more, this process ends: %s", self.model, error)
            self.end()
            raise
        except Exception as error:
            if isinstance(error, EngineClosed) or is_sticky(error):
                logger.critical("%s is broken, this process ends: %s", self.model, error)
                self.crash()
            raise
        if finishes := context.understanding.complete(claim, results):
            context.doorbell.ring(PassKind.FINISH, count=finishes)

    def _hear(
        self,
        work: UnderstandWork,
        samples: NDArray[np.int16],
        references: Mapping[str, NDArray[np.int16]],
        lease: Lease,
    ) -> list[NewResult]:
        chunk = heard_chunk(work, self.engine.clip_samples)
        hearings = Hearings({request.id: _hearing(request, chunk) for request in work.requests})
        deadline = time.monotonic() + PASS_SECONDS
        ChunkTalk(self.engine, samples, deadline, lease.check, references).run(hearings)
        return [
            self._result(
                request,
                hearings.parsed[request.id],
                [(question, hearings.answers[question]) for question in hearings.used[request.id]],
            )
            for request in work.requests
        ]

    def _result(
        self, request: AskedRequest, parsed: Parsed, said: Sequence[tuple[Question, Answer]]
    ) -> NewResult:
        decoded = [answer for _, answer in said if answer.finish_reason is not FinishReason.SCORED]
        logprobs = [logprob for answer in decoded for logprob in answer.logprobs]
        # What a second try mended is no ending of the result: the flags of what was kept decide.
        endings = [reason for reason, flag in FLAG_OF_ENDING.items() if flag in parsed["flags"]]
        return NewResult(
            request_id=request.id,
            raw_text=_storable("\n".join(answer.text for answer in decoded)),
            parsed=parsed,
            flags=list(parsed["flags"]),
            finish_reason=[*endings, FinishReason.STOP if decoded else FinishReason.SCORED][0],
            avg_logprob=mean_logprob(logprobs),
            tokens=sum(len(answer.ids) for answer in decoded),
            model=self.model,
            model_revision=self.engine.revision,
            prompt_version=request.prompt_version,
            numbers={"answers": [_numbers(question, answer) for question, answer in said]},
        )


def heard_chunk(work: UnderstandWork, clip_samples: int | None = None) -> HeardChunk:
    """Return what tasks know of a chunk; speech that runs through a seam goes on to the end of what is heard."""
    spans = []
    for start, end in work.speech:
        begin = work.heard_start if start == work.owned_start else start
        stop = work.heard_end if end == work.owned_end else end
        spans.append((begin - work.heard_start, stop - work.heard_start))
    owned = work.owned_start - work.heard_start, work.owned_end - work.heard_start
    return HeardChunk(work.heard_end - work.heard_start, tuple(spans), owned, clip_samples)


def referenced(requests: Sequence[AskedRequest]) -> list[str]:
    """Return the ids of the recordings that requests compare with, each once."""
    return list(
        dict.fromkeys(
            one for request in requests for one in get_task(request.task).references(_options(request))
        )
    )


def _options(request: AskedRequest) -> Any:
    return get_task(request.task).Options.model_validate(dict(request.options))


def _hearing(request: AskedRequest, chunk: HeardChunk) -> Hearing:
    return get_task(request.task).hear(chunk, _options(request))


def _storable(text: str) -> str:
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")  # PostgreSQL holds no NUL


def _numbers(question: Question, answer: Answer) -> dict[str, Any]:
    """Return what one question was and cost, for those who look closer."""
    finite = {text: score for text, score in answer.scores.items() if math.isfinite(score)}
    return {
        "prompt": _storable(str(question.prompt)),
        "window": question.window,
        "limit": question.limit,
        "finish_reason": answer.finish_reason,
        **({"scores": finite} if finite else {}),
        **asdict(answer.numbers),
    }


def read_reference(context: WorkerContext, tenant: str, recording_id: str) -> NDArray[np.int16]:
    """Read the first chunk of a recording that others are compared with; raises ``ReferenceUnavailable``."""
    with context.database.read() as session:
        return read_samples(context, load_reference(session, tenant, recording_id))


def read_samples(context: WorkerContext, work: UnderstandWork) -> NDArray[np.int16]:
    """Read the heard span of the chunk's channel from the timeline: int16, shape (samples,)."""
    start, end = byte_range(work.heard_start, work.heard_end, work.channel_count)
    pcm = context.store.read(work.timeline_uri, start, end)
    return np.ascontiguousarray(channel_samples(pcm, work.channel, work.channel_count))
