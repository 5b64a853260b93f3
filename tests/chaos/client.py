"""Be one client: submit, upload, ask more, retry, cancel and delete over REST, and write down what was answered."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
from chaos import fakes
from chaos.facts import Submitted
from chaos.sources import ARCHIVES, POPULAR, SOURCES, archive_uri, manifest_uri, source_uri

STYLES = ("clotho", "audiocaps", "plain")
FINAL = ("succeeded", "partial", "failed", "cancelled")
MOST_SENDS = 4  # of one request that got no clear answer
AGAIN_SHARE = 0.1  # of the submissions are sent again although they were acknowledged
CANCEL_SHARE = 0.15  # of the submissions are cancelled soon after
HOOK_SHARE = 0.3  # of the submissions name a webhook of their own
UPLOAD_SHARE = 0.15  # of the sources are uploaded
MISSING_SHARE = 0.04  # of the sources do not exist
POPULAR_SHARE = 0.4  # of the sources are a few that many jobs ask for
LISTED_SHARE = 0.4  # of the submissions also name a prefix or a manifest


@dataclass
class Client:
    """One thread's client of one tenant, which touches its own jobs only; ``log`` is by marks."""

    http: httpx.Client
    dice: random.Random
    seed: int
    tenant: str
    name: str
    hook_url: str  # of jobs that name a webhook
    log: dict[str, Submitted] = field(default_factory=dict)
    secret: str | None = None  # of the webhook at ``hook_url``
    hook_id: str | None = None
    _turn: int = 0

    def submit_first(self) -> Submitted:
        """Submit a job that tells of the webhook and will have something to retry, however slow the machine is."""
        return self._submit([self._source(), source_uri(SOURCES)], hook=True, may_cancel=False)

    def submit(self) -> Submitted:
        """Submit a job of one to three sources, or of one and a listing, perhaps again, and perhaps cancel it."""
        lists: list[dict[str, str]] = []
        if self.dice.random() < LISTED_SHARE:
            number = self.dice.randrange(ARCHIVES)
            prefix = {"prefix": archive_uri(number), "glob": "*.pcm"}
            lists = [self.dice.choice([prefix, {"manifest": manifest_uri(number)}])]
        uris = [self._source() for _ in range(1 if lists else self.dice.randint(1, 3))]
        return self._submit(uris, lists, hook=self.dice.random() < HOOK_SHARE, may_cancel=True)

    def _submit(
        self, uris: list[str], lists: Sequence[dict[str, str]] = (), *, hook: bool, may_cancel: bool
    ) -> Submitted:
        styles = self.dice.sample(STYLES, self.dice.randint(1, 2))
        mark = self._mark()
        body: dict[str, Any] = {
            "sources": [*uris, *lists],
            "tasks": _tasks(*styles),
            "metadata": {"mark": mark},
        }
        if hook:
            body["webhook"] = self.hook_url
        listings = tuple(one.get("prefix") or one["manifest"] for one in lists)
        sent = self._send(Submitted(mark, "unknown", uris, self.tenant, listings=listings), "/v1/jobs", body)
        if sent.outcome == "acknowledged":
            if self.dice.random() < AGAIN_SHARE:
                sent = self._keep(replace(sent, again=self._post("/v1/jobs", body, mark)[1]))
            if may_cancel and self.dice.random() < CANCEL_SHARE:
                time.sleep(self.dice.uniform(0.0, 1.5))
                sent = self.cancel(sent)
        return sent

    def act(self) -> None:
        """Do something with an earlier job, as its state allows."""
        known = [one for one in self.log.values() if one.job_id is not None and one.deleted != "acknowledged"]
        if not known:
            return
        sent = self.look(self.dice.choice(known))
        draw = self.dice.random()
        if sent.deleted != "no" or (sent.ended is not None and draw < 0.3):
            self.delete(sent)
        elif sent.ended is None:
            if draw < 0.15:
                self.cancel(sent)
            elif draw < 0.2:
                self.delete(sent)
            elif draw < 0.4:
                self.ask_more(sent)
        elif sent.ended != "succeeded" and draw < 0.75:
            self.retry(sent)
        elif draw < 0.9:
            self.ask_more(sent)

    def last_acts(self) -> None:
        """Retry whatever failed and was not retried, ask more of one job, and delete two: nothing breaks any more."""
        for sent in [one for one in self.log.values() if one.job_id is not None]:
            if sent.deleted != "no":
                self.delete(sent)
            elif self.look(sent).ended in ("partial", "failed"):
                self.retry(self.log[sent.mark])
        over = [one for one in self.log.values() if one.ended is not None and one.deleted == "no"]
        for sent in self.dice.sample(over, min(3, len(over))):
            if sent is over[0]:
                self.ask_more(sent)
            else:
                self.delete(sent)

    def look(self, sent: Submitted) -> Submitted:
        """Read a job, and write down its state when it has ended."""
        answer = self._answer("GET", f"/v1/jobs/{sent.job_id}")
        if answer is None or not answer.is_success or answer.json()["state"] not in FINAL:
            return sent
        return self._keep(replace(sent, ended=answer.json()["state"], shown=answer.json()))

    def retry(self, sent: Submitted) -> None:
        """Retry what failed, and after a cancel what that cut off; each job once."""
        if not self._has("retry", sent):
            self._derive(
                "retry", sent, f"/v1/jobs/{sent.job_id}/retry", {"cancelled": sent.ended == "cancelled"}
            )

    def ask_more(self, sent: Submitted) -> None:
        """Ask one more thing about the recordings of a job; each job once."""
        if not self._has("more", sent):
            body = {"tasks": _tasks(self.dice.choice(STYLES))}
            self._derive("more", sent, f"/v1/jobs/{sent.job_id}/tasks", body)

    def cancel(self, sent: Submitted) -> Submitted:
        """Cancel a job; only a clear yes counts."""
        answer = self._answer("POST", f"/v1/jobs/{sent.job_id}/cancel")
        if answer is None or not answer.is_success or answer.json()["state"] != "cancelled":
            return sent
        return self._keep(replace(sent, cancelled=True, ended="cancelled"))

    def delete(self, sent: Submitted) -> None:
        """Delete a job; that it is not found any more is a clear yes after a try without an answer."""
        answer = self._answer("DELETE", f"/v1/jobs/{sent.job_id}")
        clear = answer is not None and (
            answer.status_code == 202 or (answer.status_code == 404 and sent.deleted == "asked")
        )
        if clear or answer is None or answer.status_code >= 500:
            self._keep(replace(self.log[sent.mark], deleted="acknowledged" if clear else "asked"))

    def peep(self, job_id: str) -> str | None:
        """Ask for, or take hold of, what is another tenant's; return what was answered instead of 404."""
        method, path = self.dice.choice([("GET", ""), ("GET", ""), ("POST", "/cancel"), ("DELETE", "")])
        answer = self._answer(method, f"/v1/jobs/{job_id}{path}")
        if answer is None or answer.status_code in (404, 503):
            return None
        return f"{self.tenant} got {answer.status_code} for {method} of job {job_id} of another tenant"

    def _source(self) -> str:
        if self.dice.random() < MISSING_SHARE:
            return source_uri(SOURCES + self.dice.randrange(100))
        number = self.dice.randrange(POPULAR if self.dice.random() < POPULAR_SHARE else SOURCES)
        uploaded = self._upload(number) if self.dice.random() < UPLOAD_SHARE else None
        return uploaded or source_uri(number)

    def _upload(self, number: int) -> str | None:
        files = {"file": (f"{number}.pcm", fakes.make_pcm(self.seed, number))}
        answer = self._answer("POST", "/v1/uploads", files=files)
        return str(answer.json()["uri"]) if answer is not None and answer.status_code == 201 else None

    def _has(self, kind: str, of: Submitted) -> bool:
        return any(one.kind == kind and one.of == of.job_id for one in self.log.values())

    def _derive(self, kind: str, of: Submitted, path: str, body: Any) -> None:
        sent = Submitted(self._mark(), "unknown", (), self.tenant, kind=kind, of=of.job_id)
        self._send(sent, path, body)

    def _send(self, sent: Submitted, path: str, body: Any) -> Submitted:
        """Send until there is a clear answer, a few times; write down which it was."""
        for turn in range(MOST_SENDS):
            time.sleep(0.3 * turn)
            outcome, job_id = self._post(path, body, sent.mark)
            if outcome != "unknown":
                return self._keep(replace(sent, outcome=outcome, job_id=job_id))
        return self._keep(sent)

    def _post(self, path: str, body: Any, key: str) -> tuple[str, str | None]:
        answer = self._answer("POST", path, json=body, headers={"Idempotency-Key": key})
        if answer is None:
            return "unknown", None
        if answer.status_code != 202:
            in_flight = answer.json().get("code") == "idempotency_key_in_flight"
            return ("refused" if answer.status_code in (404, 409) and not in_flight else "unknown"), None
        told = answer.json()
        if (hook := told.get("webhook")) is not None and hook.get("secret") is not None:
            self.hook_id, self.secret = hook["id"], hook["secret"]
        return "acknowledged", str(told["id"])

    def _answer(self, method: str, path: str, **more: Any) -> httpx.Response | None:
        try:
            return self.http.request(method, path, **more)
        except httpx.HTTPError:
            return None

    def _mark(self) -> str:
        self._turn += 1
        return f"{self.name}-{self._turn}"

    def _keep(self, sent: Submitted) -> Submitted:
        self.log[sent.mark] = sent
        return sent


def _tasks(*styles: str) -> list[dict[str, Any]]:
    return [{"task": "caption", "options": {"style": style}} for style in styles]
