"""Nobody reaches what is another tenant's: a matrix of every operation and every kind of caller."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete, func, select, update
from support.jobs import claim, facts, plan, request, results, submit

from api.app import create_app
from db.claims import Claim, Failure
from db.database import Database
from db.events import record_event
from db.failures import fail_pass
from db.finishing import NewFindings, complete_finish
from db.keys import create_key, revoke_key
from db.states import PassKind, SourceKind
from db.submitting import NewJob, NewSource, submit_job
from db.tables import ApiKey, Job, JobRecording, JobSource, Table, WebhookDelivery
from db.tables.base import OfTenant
from db.understanding import complete_understand
from db.webhooks import NewWebhook, add_webhook
from settings import Settings
from settings.key_secret import load_key_secret

CANARY = "canary-of-alpha"
BODIES: dict[str, Any] = {"ask_job": {"tasks": ["caption"]}}
"""What operations with an id want in their body, by operation id."""

OWN_JOB = {"cancel_job": "running", "retry_job": "failed", "list_source_errors": "running"}
"""Which job an operation is tried on, where it is not the finished one."""

OPERATORS = {"show_metrics", "show_workers", "show_queue"}
"""Operations that no tenant sees: see ``api.operators``."""

PUBLIC = {"check_health", "check_readiness"} | OPERATORS
DOCUMENT = create_app(Settings()).openapi()
OPERATIONS = [
    (operation["operationId"], method.upper(), path)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
]
WITH_IDS = [one for one in OPERATIONS if "{" in one[2]]
LISTS = [one for one in OPERATIONS if "{" not in one[2] and one[1] == "GET" and one[0] not in PUBLIC]


def named(operations: list[tuple[str, str, str]]) -> Any:
    return pytest.mark.parametrize(
        ("operation", "method", "path"), operations, ids=[operation for operation, _, _ in operations]
    )


@pytest.fixture
def strict(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings, keys_required=True), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def key(settings: Settings, database: Database) -> Callable[[str], dict[str, str]]:
    def make(tenant: str) -> dict[str, str]:
        with database.write() as session:
            made = create_key(session, tenant, "test", load_key_secret(settings))
        return {"Authorization": f"Bearer {made.text}"}

    return make


def must(found: Claim | None) -> Claim:
    assert found is not None
    return found


@pytest.fixture
def ids(database: Database) -> dict[str, str]:
    """A finished job of the tenant alpha with all that can be asked for, by the names of path parameters."""
    job_id = submit(
        database, request(), tenant="alpha", uris=(f"s3://b/{CANARY}",), client_metadata={"name": CANARY}
    )
    plan(database, must(claim(database, PassKind.PLAN)), facts(1))
    heard = must(claim(database, PassKind.UNDERSTAND))
    with database.write() as session:
        complete_understand(session, heard, results(heard))
    last = must(claim(database, PassKind.FINISH))
    row = {
        "index": 0, "channel": 0, "start_sample": 0, "end_sample": 16_000, "start_ms": 0, "end_ms": 1000,
        "text": CANARY, "language": "en", "words": [], "avg_logprob": -0.1, "flags": [],
    }  # fmt: skip
    with database.write() as session:
        complete_finish(session, last, [NewFindings(heard.request_ids[0], [row], [])])
    with database.write() as session:
        new = NewJob(
            "alpha", [], [request()], "mix", sources=[NewSource(SourceKind.PREFIX, f"s3://b/{CANARY}/")]
        )
        expanding = submit_job(session, new)
        source_id = session.scalars(select(JobSource.id).where(JobSource.job_id == expanding.id)).one()
    failed = submit(database, request(), tenant="alpha", uris=(f"s3://b/{CANARY}/failed",))
    broken = must(claim(database, PassKind.PLAN))
    with database.write() as session:
        fail_pass(session, broken, Failure("storage_unavailable", CANARY, retryable=False))
    with database.write() as session:
        wanted = NewWebhook("alpha", f"https://example.com/{CANARY}", "whsec_" + "a" * 32, [])
        webhook_id = add_webhook(session, wanted).id
        record_event(session, "job.failed", tenant="alpha", job_id=failed, actor="test")
        delivery_id = session.scalars(select(WebhookDelivery.id)).one()
    assert heard.recording_id is not None
    return {
        "job_id": job_id,
        "recording_id": heard.recording_id,
        "source_id": source_id,
        "webhook_id": webhook_id,
        "delivery_id": delivery_id,
        "running": expanding.id,
        "failed": failed,
    }


def filled(operation: str, path: str, ids: dict[str, str]) -> str:
    names = re.findall(r"{(\w+)}", path)
    missing = [name for name in names if name not in ids]
    assert not missing, f"{operation} has ids that no tenant's fixture makes: add {missing} to `ids`"
    return path.format(**{**ids, "job_id": ids[OWN_JOB.get(operation, "job_id")]})


@named(WITH_IDS)
def test_an_id_is_of_its_tenant_and_does_not_exist_for_others(
    strict, key, ids, settings, database, operation, method, path
):
    url = filled(operation, path, ids)
    content = {"json": BODIES[operation]} if operation in BODIES else {}
    alpha, beta, revoked = key("alpha"), key("beta"), key("alpha")
    with database.write() as session:
        revoke_key(session, revoked["Authorization"].split("_")[1])

    other = strict.request(method, url, headers=beta, **content)
    without = strict.request(method, url, **content)
    ended = strict.request(method, url, headers=revoked, **content)
    own = strict.request(method, url, headers=alpha, **content)

    assert (other.status_code, without.status_code, ended.status_code) == (404, 401, 401)
    assert CANARY not in other.text
    assert 200 <= own.status_code < 300, own.text


@named(LISTS)
def test_a_list_shows_nothing_of_other_tenants(strict, key, ids, operation, method, path):
    assert strict.get(path).status_code == 401
    foreign = strict.get(path, headers=key("beta"))
    assert foreign.status_code == 200
    assert CANARY not in foreign.text
    assert not any(one in foreign.text for one in ids.values())


@named([one for one in OPERATIONS if one[0] not in PUBLIC])
def test_without_a_key_nothing_is_served_but_health(strict, ids, operation, method, path):
    answer = strict.request(method, filled(operation, path, ids), json={} if method == "POST" else None)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_health_needs_no_key(strict):
    assert strict.get("/healthz").status_code == 200
    assert strict.get("/readyz").status_code == 200


def test_unknown_bad_and_revoked_keys_get_the_same_answer(strict, key, database):
    good = key("alpha")["Authorization"].removeprefix("Bearer ")
    with database.write() as session:
        revoke_key(session, good)
    wrong_secret = good[:-4] + ("aaaa" if not good.endswith("aaaa") else "bbbb")
    unknown = "ew_000000000000_" + "a" * 43
    answers = []
    for header in (
        f"Bearer {good}",
        f"Bearer {wrong_secret}",
        f"Bearer {unknown}",
        "Bearer",
        "Basic eA==",
        "x" * 5_000,
        "",
    ):
        answer = strict.get("/v1/jobs", headers={"Authorization": header})
        problem = answer.json()
        problem.pop("request_id")
        answers.append((answer.status_code, problem))
    assert answers[0][0] == 401
    assert all(answer == answers[0] for answer in answers)


def test_a_tenant_may_hold_two_live_keys_so_that_they_can_be_changed(strict, key, database):
    old, new = key("alpha"), key("alpha")
    assert {strict.get("/v1/jobs", headers=one).status_code for one in (old, new)} == {200}
    with database.write() as session:
        revoke_key(session, old["Authorization"].split("_")[1])
    assert [strict.get("/v1/jobs", headers=one).status_code for one in (old, new)] == [401, 200]


def test_a_key_is_stored_as_a_hash_under_a_secret(key, database, settings):
    text = key("alpha")["Authorization"].removeprefix("Bearer ")
    with database.read() as session:
        row = session.scalars(select(ApiKey)).one()
    assert text.split("_", 2)[2] not in str(vars(row))
    assert load_key_secret(settings).decode() not in str(vars(row))
    assert (settings.data_dir / "key-secret").stat().st_mode & 0o777 == 0o600


def test_the_last_use_is_written_down_once_a_minute(strict, key, database):
    alpha = key("alpha")

    def used_at() -> Any:
        with database.read() as session:
            return session.scalars(select(ApiKey.last_used_at)).one()

    assert used_at() is None
    strict.get("/v1/jobs", headers=alpha)
    first = used_at()
    strict.get("/v1/jobs", headers=alpha)
    assert used_at() == first
    with database.write() as session:
        session.execute(update(ApiKey).values(last_used_at=ApiKey.created_at))
        session.execute(update(ApiKey).values(last_used_at=None))
    strict.get("/v1/jobs", headers=alpha)
    assert used_at() is not None


def test_on_loopback_no_key_is_the_default_tenant_and_a_wrong_one_is_refused(client, submitted):
    assert [job["id"] for job in client.get("/v1/jobs").json()["items"]] == [submitted]
    assert client.get("/v1/jobs", headers={"Authorization": "Bearer ew_x"}).status_code == 401


def test_an_upload_of_another_tenant_is_not_found_by_the_worker(strict, key, settings):
    from storage import InputNotFound, open_store
    from storage.uploads import resolve_source

    uri = strict.post("/v1/uploads", headers=key("alpha"), files={"file": ("a.wav", b"RIFF")}).json()["uri"]
    store = open_store(settings.resolved_storage_url)
    assert store.head(resolve_source(uri, "alpha", settings.resolved_storage_url)).size_bytes == 4
    with pytest.raises(InputNotFound):
        store.head(resolve_source(uri, "beta", settings.resolved_storage_url))


def test_a_tenants_session_reaches_no_row_of_another_even_where_a_query_forgets_to_ask(database, ids):
    mapped = [mapper.class_ for mapper in Table.registry.mappers]
    owned = [table for table in mapped if issubclass(table, OfTenant)]
    assert {table for table in mapped if hasattr(table, "tenant")} == set(owned)
    with database.read("beta") as session:
        assert [table for table in owned if session.scalar(select(func.count()).select_from(table))] == []
        assert session.execute(select(Job.id, JobRecording.uri).join(JobRecording)).all() == []
    with database.write("beta") as session:
        assert session.execute(update(Job).values(priority=9)).rowcount == 0
        assert session.execute(delete(JobSource)).rowcount == 0
    with database.read("alpha") as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 3
        assert set(session.scalars(select(Job.priority))) == {0}


def test_the_api_opens_no_session_that_is_not_of_a_tenant():
    """``services.database.read()`` without a tenant would see everybody; keys and operators have to."""
    allowed = {"tenancy.py", "operations.py", "metrics.py"}
    found = []
    for file in (Path(__file__).parents[3] / "api").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in ("read", "write")
                and "database" in ast.unparse(node.func.value)
                and not node.args
                and file.name not in allowed
            ):
                found.append(f"{file.name}:{node.lineno}")
    assert found == [], "give the session its tenant"
