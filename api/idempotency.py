"""Answer a request with an idempotency key once, and repeat that answer to whoever sends it again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Annotated

from fastapi import Depends, Header, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.orm import Session

from api.problems import InvalidField
from api.services import Services, Wired
from api.tenancy import Tenant
from db.idempotency import MOST_CHARACTERS, FirstAnswer, find_answer, keep_answer

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"

KeyHeader = Annotated[
    str | None,
    Header(
        alias=HEADER,
        json_schema_extra={"minLength": 1, "maxLength": MOST_CHARACTERS},
        description="Any text of yours, up to 255 characters: a request that repeats it within a day gets the first "
        "answer again, and nothing is done twice.",
    ),
]


class Once:
    """One POST request. In a route: open ``transaction``; return ``answer`` if there is one; else work and ``keep``.

    The answer is stored in the transaction of the work: a crash keeps both or none. A request that is refused, or
    fails, stores nothing. A route whose transaction is shared with others opens ``alone`` and calls ``look_up``.
    """

    def __init__(self, services: Services, tenant: str, key: str | None, request_sha256: str) -> None:
        self._services, self._tenant = services, tenant
        self._key, self._request_sha256 = key, request_sha256
        self.answer: JSONResponse | None = None

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Yield the tenant's session, and commit at its end; raises ``KeyInFlight`` and ``KeyReused``."""
        with self.alone(), self._services.database.write(self._tenant) as session:
            self.look_up(session)
            yield session

    def alone(self) -> AbstractContextManager[None]:
        """Hold the key in this process; raises ``KeyInFlight``."""
        if self._key is None:
            return nullcontext()
        return self._services.in_flight.alone(self._tenant, self._key)

    def look_up(self, session: Session) -> JSONResponse | None:
        """Set and return ``answer`` if the request has been answered before; raises ``KeyInFlight``, ``KeyReused``."""
        if self._key is not None:
            first = find_answer(session, self._tenant, self._key, self._request_sha256)
            self.answer = None if first is None else _response(first)
        return self.answer

    def keep(self, session: Session, status: int, body: BaseModel, *, job_id: str | None = None) -> None:
        """Store the answer; ``job_id`` is the job that was made, for ``Location``."""
        if self._key is not None:
            answer = FirstAnswer(status, body.model_dump(mode="json"), job_id)
            keep_answer(session, self._tenant, self._key, self._request_sha256, answer)


async def read_once(request: Request, services: Wired, tenant: Tenant, key: KeyHeader = None) -> Once:
    """Read the header and the body's digest; raises ``InvalidField``."""
    if key is None:
        return Once(services, tenant, None, "")
    if not 1 <= len(key) <= MOST_CHARACTERS or not key.isprintable():
        raise InvalidField(HEADER, f"1 to {MOST_CHARACTERS} printable characters")
    return Once(services, tenant, key, _digest(request, await request.body()))


async def refuse_key(request: Request) -> None:
    """Refuse the header where it means nothing, rather than let a client rely on it; raises ``InvalidField``."""
    if HEADER in request.headers:
        raise InvalidField(HEADER, "this route takes none: what is sent twice is stored twice, under two ids")


def _digest(request: Request, body: bytes) -> str:
    """Return the digest of what is asked; the order of fields and the spaces between them do not matter."""
    asked = f"{request.method} {request.url.path}?{request.url.query}\n".encode()
    return hashlib.sha256(asked + _canonical(body)).hexdigest()


def _canonical(body: bytes) -> bytes:
    try:
        return json.dumps(json.loads(body), sort_keys=True, separators=(",", ":")).encode()
    except ValueError:
        return body  # not JSON: its bytes are what they are, and the route will refuse it


def _response(first: FirstAnswer) -> JSONResponse:
    headers = {REPLAYED: "true"}
    if first.job_id is not None:
        headers["Location"] = f"/v1/jobs/{first.job_id}"
    return JSONResponse(dict(first.body), first.status, headers)


OnceOnly = Annotated[Once, Depends(read_once)]
"""A route's parameter of this type makes the route honour idempotency keys."""
