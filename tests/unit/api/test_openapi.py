from __future__ import annotations

import json

import pytest
from jsonschema import Draft202012Validator

from api.app import create_app
from api.asked_tasks import EXAMPLES
from api.submissions import Submission
from pipeline.tasks import TASKS
from settings import Settings

OPERATIONS = {
    "create_job": ("post", "/v1/jobs"),
    "list_jobs": ("get", "/v1/jobs"),
    "get_job": ("get", "/v1/jobs/{job_id}"),
    "list_source_errors": ("get", "/v1/jobs/{job_id}/sources/{source_id}/errors"),
    "list_job_recordings": ("get", "/v1/jobs/{job_id}/recordings"),
    "cancel_job": ("post", "/v1/jobs/{job_id}/cancel"),
    "retry_job": ("post", "/v1/jobs/{job_id}/retry"),
    "ask_job": ("post", "/v1/jobs/{job_id}/tasks"),
    "delete_job": ("delete", "/v1/jobs/{job_id}"),
    "upload_file": ("post", "/v1/uploads"),
    "get_recording": ("get", "/v1/recordings/{recording_id}"),
    "list_summaries": ("get", "/v1/recordings/{recording_id}/summaries"),
    "list_segments": ("get", "/v1/recordings/{recording_id}/segments"),
    "list_annotations": ("get", "/v1/recordings/{recording_id}/annotations"),
    "create_webhook": ("post", "/v1/webhooks"),
    "list_webhooks": ("get", "/v1/webhooks"),
    "get_webhook": ("get", "/v1/webhooks/{webhook_id}"),
    "delete_webhook": ("delete", "/v1/webhooks/{webhook_id}"),
    "enable_webhook": ("post", "/v1/webhooks/{webhook_id}/enable"),
    "rotate_webhook": ("post", "/v1/webhooks/{webhook_id}/rotate"),
    "drop_old_secret": ("delete", "/v1/webhooks/{webhook_id}/old-secret"),
    "list_deliveries": ("get", "/v1/webhooks/{webhook_id}/deliveries"),
    "redeliver": ("post", "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver"),
    "list_tasks": ("get", "/v1/tasks"),
    "list_job_failures": ("get", "/v1/jobs/{job_id}/failures"),
    "list_all_failures": ("get", "/v1/failures"),
    "show_workers": ("get", "/v1/workers"),
    "show_queue": ("get", "/v1/queue"),
    "show_metrics": ("get", "/metrics"),
    "check_health": ("get", "/healthz"),
    "check_readiness": ("get", "/readyz"),
}


@pytest.fixture(scope="module")
def document() -> dict:
    return create_app(Settings()).openapi()


def test_the_document_is_valid_openapi(document):
    validator = pytest.importorskip("openapi_spec_validator").OpenAPIV31SpecValidator

    assert list(validator(json.loads(json.dumps(document))).iter_errors()) == []


def test_the_operations_are_the_published_ones(document):
    found = {
        operation["operationId"]: (method, path)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }

    assert found == OPERATIONS


def test_the_page_takes_a_key_wherever_one_may_be_asked_for(document):
    open_to_all = {
        name
        for name, (method, path) in OPERATIONS.items()
        if "security" not in document["paths"][path][method]
    }

    assert open_to_all == {"check_health", "check_readiness"}
    assert document["components"]["securitySchemes"] == {"bearer": {"type": "http", "scheme": "bearer"}}


def test_every_error_is_shown_as_a_problem(document):
    for operations in document["paths"].values():
        for operation in operations.values():
            errors = {status: r for status, r in operation["responses"].items() if int(status) >= 400}
            assert {"422", "503"} <= set(errors)
            for response in errors.values():
                schema = response["content"]["application/problem+json"]["schema"]
                assert list(response["content"]) == ["application/problem+json"]
                assert schema == {"$ref": "#/components/schemas/Problem"}


def test_problems_of_a_body_and_of_an_idempotency_key_are_shown_wherever_there_is_one(document):
    for operations in document["paths"].values():
        for operation in operations.values():
            expected = {"400", "413"} if "requestBody" in operation else set()
            if "Idempotency-Key" in {parameter["name"] for parameter in operation.get("parameters", ())}:
                expected |= {"409"}
            assert expected <= set(operation["responses"]), operation["operationId"]


def test_what_makes_a_job_says_that_too_many_may_wait(document):
    for name in ("create_job", "retry_job", "ask_job"):
        method, path = OPERATIONS[name]
        assert "429" in document["paths"][path][method]["responses"]


def test_an_idempotency_key_is_offered_where_it_is_taken_and_nowhere_else(document):
    offered = {
        operation["operationId"]
        for operations in document["paths"].values()
        for operation in operations.values()
        if "Idempotency-Key" in {parameter["name"] for parameter in operation.get("parameters", ())}
    }

    assert offered == {"create_job", "cancel_job", "retry_job", "ask_job", "create_webhook", "rotate_webhook"}


def test_every_field_that_is_shown_is_described(document):
    for name, schema in document["components"]["schemas"].items():
        for field, shape in schema.get("properties", {}).items():
            assert shape.get("description"), f"{name}.{field} has no description"


def test_every_parameter_is_described_but_ids_in_paths(document):
    for path, operations in document["paths"].items():
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                assert parameter["in"] == "path" or parameter["description"], (path, parameter["name"])


def test_the_options_of_every_task_are_shown(document):
    schemas = document["components"]["schemas"]
    for task in TASKS.values():
        shown = schemas[task.Options.__name__]
        assert set(shown["properties"]) == set(task.Options.model_fields)
        assert shown["additionalProperties"] is False


def test_every_task_has_an_example_that_is_accepted():
    assert set(EXAMPLES) == set(TASKS)
    for example in EXAMPLES.values():
        Submission.model_validate({"sources": ["s3://archive/1"], "tasks": [example]})


ACCEPTED = [
    {"sources": ["s3://archive/1"], "tasks": ["caption"]},
    {
        "sources": [{"uri": "s3://archive/1"}],
        "tasks": [{"task": "emotion"}],
        "priority": 9,
        "metadata": {"a": []},
    },
    *Submission.model_json_schema()["examples"],
]
REFUSED = [
    {"tasks": ["caption"]},
    {"sources": ["s3://archive/1"], "tasks": ["captions"]},
    {"sources": ["s3://archive/1"], "tasks": [{"task": "caption", "options": {"language": "en"}}]},
    {"sources": ["s3://archive/1"], "tasks": [{"task": "caption", "option": {}}]},
    {"sources": [{"url": "s3://archive/1"}], "tasks": ["caption"]},
    {"sources": ["s3://archive/1"], "tasks": ["caption"], "priority": 10},
    {"sources": ["s3://archive/1"], "tasks": ["caption"], "extra": 1},
]


@pytest.mark.parametrize("body", ACCEPTED)
def test_the_schema_takes_what_we_take(body):
    assert Submission.model_validate(body).sources
    assert Draft202012Validator(Submission.model_json_schema()).is_valid(body)


@pytest.mark.parametrize("body", REFUSED)
def test_the_schema_refuses_what_we_refuse(body):
    with pytest.raises(ValueError):
        Submission.model_validate(body)
    assert not Draft202012Validator(Submission.model_json_schema()).is_valid(body)
