"""Talk to the API over HTTP; the client half of the command line needs nothing else of the service."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, cast
from uuid import uuid4

import httpx

from cli.errors import ApiProblem, ApiUnreachable, InvalidKey, SourceNotFound, Unsendable

Json = dict[str, Any]
Query = str | int | list[str]

TIMEOUT_SECONDS = 15.0
DRY_RUN_SECONDS = 60.0
UPLOAD_TIMEOUT = httpx.Timeout(
    TIMEOUT_SECONDS, read=300.0
)  # a store takes a while to complete a large object
PATIENCE_SECONDS = 30.0  # how long an API that was there may be away
PAUSE_SECONDS = 1.0  # before the same is asked again
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout)
_OF_PROXIES = (HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT)
# A socket that our supervisor holds takes connections also while nobody serves it; who serves it answers within 3 s.
READY_TIMEOUT_SECONDS = 4.0


class ApiClient:
    """One connection to one API. Every method raises ``ApiUnreachable`` or ``ApiProblem``."""

    def __init__(
        self,
        url: str,
        transport: httpx.BaseTransport | None = None,
        *,
        token: str | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        if token and not (token.isascii() and token.isprintable()):
            raise InvalidKey(
                "the key holds a line break or letters that no HTTP header can carry: "
                "look at EARWITNESS_API_KEY and EARWITNESS_OPERATOR_TOKEN"
            )
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            self._http = httpx.Client(
                base_url=self.url, transport=transport, timeout=TIMEOUT_SECONDS, headers=headers
            )
        except httpx.InvalidURL:
            raise self._no_url() from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def upload(self, path: Path, on_bytes: Callable[[int], None] = lambda count: None) -> str:
        """Send a file and return its ``upload://`` URI; ``on_bytes`` is told how many bytes went out.

        Raises ``SourceNotFound`` for a file that cannot be read.
        """
        name = path.name.encode("utf-8", "replace").decode()
        try:
            with open(path, "rb") as file:
                # httpx sends it in blocks, and reads its length from the file itself.
                counted = cast("BinaryIO", _CountedFile(file, on_bytes))
                form = {"file": (name, counted)}
                return str(self._ask("POST", "/v1/uploads", files=form, timeout=UPLOAD_TIMEOUT)["uri"])
        except OSError as error:
            raise SourceNotFound(f"{path} cannot be read: {error.strerror}") from None

    def submit(self, job: Mapping[str, Any]) -> Json:
        """Submit a job and return it; see ``post_once``."""
        return self.post_once("/v1/jobs", job)

    def dry_run(self, job: Mapping[str, Any]) -> Json:
        """Return what a job would hear; nothing is stored. Counting may take half a minute."""
        return self._ask("POST", "/v1/jobs", json={**job, "dry_run": True}, timeout=DRY_RUN_SECONDS)

    def get(self, path: str, **query: Query) -> Json:
        """Return what lies at a path."""
        return self._ask("GET", path, params=query)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Json:
        """Ask for something to be done and return what the API says of it."""
        return self._ask("POST", path, **({} if body is None else {"json": body}))

    def post_once(self, path: str, body: Mapping[str, Any]) -> Json:
        """Ask for what must not be done twice; where no clear answer comes the same is asked again for half a minute.

        It goes under one ``Idempotency-Key``: what was done already is only told once more.
        """
        headers = {"Idempotency-Key": str(uuid4())}
        ends_at: float | None = None
        while True:
            try:
                return self._ask("POST", path, json=body, headers=headers)
            except (ApiUnreachable, ApiProblem) as error:
                if ends_at is None and not _may_be_done(error):
                    raise
                ends_at = ends_at or time.monotonic() + PATIENCE_SECONDS
                if not _may_pass(error):
                    raise
                if time.monotonic() >= ends_at:
                    doubt = "it is not known whether this was done: look at `earwitness jobs` before you ask again"
                    raise ApiUnreachable(f"{error}\n  {doubt}", may_be_done=True) from None
            time.sleep(PAUSE_SECONDS)

    def delete(self, path: str) -> None:
        """Remove what lies at a path."""
        self._ask("DELETE", path)

    def pages(self, path: str, **query: Query) -> Iterator[Json]:
        """Yield the items of a list, page by page."""
        page = self.get(path, **query)
        while True:
            yield from page["items"]
            if page["next"] is None:
                return
            page = self.get(path, **{**query, "after": page["next"]})

    def check_ready(self) -> None:
        """Return when the service is up and all its parts answer."""
        self._ask("GET", "/readyz", timeout=READY_TIMEOUT_SECONDS)

    def _ask(self, method: str, path: str, **content: Any) -> Json:
        try:
            request = self._http.build_request(method, path, **content)
        except ValueError:  # of the encoders: bytes that are no UTF-8, infinity
            raise Unsendable(
                "what was asked cannot be sent: text has to be UTF-8, and numbers finite"
            ) from None
        try:
            answer = self._http.send(request)
        except httpx.UnsupportedProtocol:
            raise self._no_url() from None
        except httpx.TransportError as error:
            raise ApiUnreachable(
                f"no answer from {self.url} ({type(error).__name__}): start the service with `earwitness up`, "
                "or name another with --api URL",
                may_be_done=not isinstance(error, _NEVER_SENT),
            ) from None
        if not answer.is_success:
            raise ApiProblem(_problem(answer))
        found = _read(answer)
        if found is None:
            raise ApiProblem(_foreign(answer))
        return found

    def _no_url(self) -> ApiUnreachable:
        return ApiUnreachable(f"{self.url} is no URL of an API: use http://HOST:PORT")


def is_away(error: ApiUnreachable | ApiProblem) -> bool:
    """Say whether an error is that of an API, or of a proxy before it, that may be back soon."""
    return isinstance(error, ApiUnreachable) or error.status in (*_OF_PROXIES, HTTPStatus.SERVICE_UNAVAILABLE)


def _may_be_done(error: ApiUnreachable | ApiProblem) -> bool:
    return error.may_be_done if isinstance(error, ApiUnreachable) else error.status in _OF_PROXIES


def _may_pass(error: ApiUnreachable | ApiProblem) -> bool:
    """Say whether another try may get the answer to the first one."""
    return is_away(error) or (
        isinstance(error, ApiProblem) and error.problem.get("code") == "idempotency_key_in_flight"
    )


class _CountedFile:
    """A file that tells how much of it was read."""

    def __init__(self, file: BinaryIO, on_bytes: Callable[[int], None]) -> None:
        self._file, self._on_bytes = file, on_bytes

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(size)
        self._on_bytes(len(block))
        return block

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def fileno(self) -> int:
        return self._file.fileno()


def _read(answer: httpx.Response) -> Json | None:
    """Return the object that was answered, empty where there was none; None for what the API never sends."""
    try:
        found = answer.json() if answer.content else None
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None
    return {} if found is None else found if isinstance(found, dict) else None


def _problem(answer: httpx.Response) -> Json:
    """Return the problem that the API sent, or one that says that something else answered."""
    problem = _read(answer)
    if problem is None or "code" not in problem or not _are_fields(problem.get("errors", [])):
        return _foreign(answer)
    return problem


def _are_fields(errors: Any) -> bool:
    return isinstance(errors, list) and all(
        isinstance(error, dict) and {"field", "message"} <= error.keys() for error in errors
    )


def _foreign(answer: httpx.Response) -> Json:
    return {
        "status": answer.status_code,
        "title": "This is no answer of the API",
        "code": "foreign",
        "detail": f"{answer.url} answered with status {answer.status_code}: is it Earwitness?",
    }
