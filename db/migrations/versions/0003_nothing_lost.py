"""Take in whole archives: sources of many recordings, tenants and keys, webhooks, workers, retention.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from alembic import op
from alembic.operations import BatchOperations

from db.types import Id, Json, UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

LINK_CHECKS = {"state": "queued understanding finishing succeeded partial failed cancelled skipped"}
READY_NOW = "state = 'ready' AND not_before IS NULL"
PASS_CHECKS = {"kind": "plan understand finish expand deliver retire"}


def upgrade() -> None:
    """Apply. On SQLite a table whose constraints change is copied; foreign keys are off meanwhile (``db.upgrade``)."""
    _create_tenants()
    _create_sources()
    _create_deliveries()
    _create_operations()
    _alter_jobs()
    _alter_work()
    _index_what_is_deleted()


def _create_tenants() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", Id(), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("prefix", sa.String(length=16), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("last_used_at", UtcDateTime(), nullable=True),
        sa.Column("revoked_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("prefix", name=op.f("uq_api_keys_prefix")),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("request_sha256", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("body", Json, nullable=True),
        sa.Column("job_id", Id(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    op.create_table(
        "tenants",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("max_queued", sa.Integer(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
    )
    op.execute("INSERT INTO tenants (id, weight, created_at) VALUES ('default', 1.0, CURRENT_TIMESTAMP)")


def _create_sources() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", Id(), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("secret", sa.String(length=128), nullable=False),
        sa.Column("old_secret", sa.String(length=128), nullable=True),
        sa.Column("events", Json, nullable=False),
        sa.Column("of_all_jobs", sa.Boolean(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("failing_since", UtcDateTime(), nullable=True),
        sa.Column("disabled_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
        sa.UniqueConstraint("tenant", "url", name=op.f("uq_webhooks_tenant_url")),
    )
    op.create_table(
        "job_sources",
        sa.Column("id", Id(), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("job_id", Id(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("glob", sa.Text(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=True),
        sa.Column("objects_seen", sa.Integer(), nullable=False),
        sa.Column("objects_taken", sa.Integer(), nullable=False),
        sa.Column("objects_skipped", sa.Integer(), nullable=False),
        sa.Column("lines_bad", sa.Integer(), nullable=False),
        sa.Column("error_code", sa.String(length=64), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint("kind IN ('prefix', 'manifest')", name=op.f("ck_job_sources_kind")),
        sa.CheckConstraint(
            "state IN ('expanding', 'expanded', 'failed', 'cancelled')", name=op.f("ck_job_sources_state")
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_sources_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_sources")),
        sa.UniqueConstraint("job_id", "position", name=op.f("uq_job_sources_job_id_position")),
    )
    op.create_table(
        "source_errors",
        sa.Column("id", Id(), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("source_id", Id(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["source_id"], ["job_sources.id"], name=op.f("fk_source_errors_source_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_source_errors")),
        sa.UniqueConstraint("source_id", "line", name=op.f("uq_source_errors_source_id_line")),
    )


def _create_deliveries() -> None:
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", Id(), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("webhook_id", Id(), nullable=False),
        sa.Column("job_id", Id(), nullable=False),
        sa.Column("event_id", Id(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("payload", Json, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint(
            "state IN ('pending', 'delivered', 'failed', 'cancelled')",
            name=op.f("ck_webhook_deliveries_state"),
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_webhook_deliveries_job_id")),
        sa.ForeignKeyConstraint(
            ["webhook_id"], ["webhooks.id"], name=op.f("fk_webhook_deliveries_webhook_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
        sa.UniqueConstraint("event_id", "webhook_id", name=op.f("uq_webhook_deliveries_event_id_webhook_id")),
    )
    op.create_index(op.f("ix_webhook_deliveries_job_id"), "webhook_deliveries", ["job_id"], unique=False)
    op.create_index(
        op.f("ix_webhook_deliveries_webhook_id_id"), "webhook_deliveries", ["webhook_id", "id"], unique=False
    )
    op.create_table(
        "webhook_attempts",
        sa.Column("id", Id(), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("delivery_id", Id(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("status_code", sa.Integer(), nullable=True),
        sa.Column("error_code", sa.String(length=64), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["webhook_deliveries.id"], name=op.f("fk_webhook_attempts_delivery_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_attempts")),
        sa.UniqueConstraint("delivery_id", "number", name=op.f("uq_webhook_attempts_delivery_id_number")),
    )


def _create_operations() -> None:
    op.create_table(
        "leaders",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("holder", sa.String(length=128), nullable=False),
        sa.Column("until", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leaders")),
    )
    op.create_table(
        "workers",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(length=64), nullable=True),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("places", sa.Integer(), nullable=False),
        sa.Column("held", sa.Integer(), nullable=False),
        sa.Column("draining", sa.Boolean(), nullable=False),
        sa.Column("numbers", Json, nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_workers")),
    )


def _alter_jobs() -> None:
    """What clients submit: new columns, one more state of a link, and a history that outlives its job."""
    with _altered("jobs", {}) as table:
        for name in ("recordings_skipped", "recordings_cancelled", "sources_open"):
            table.add_column(_filled(name, sa.Integer(), "0"))
        table.add_column(_filled("if_seen", sa.String(length=8), "reuse"))
        table.add_column(sa.Column("tracking", sa.String(length=255), nullable=True))
        table.add_column(sa.Column("webhook_id", Id(), nullable=True))
        table.add_column(sa.Column("retry_of", Id(), nullable=True))
        table.add_column(sa.Column("expires_at", UtcDateTime(), nullable=True))
        table.create_foreign_key("fk_jobs_webhook_id", "webhooks", ["webhook_id"], ["id"])
    with _altered("job_recordings", LINK_CHECKS) as table:
        table.add_column(sa.Column("source_id", Id(), nullable=True))
        table.add_column(_filled("metadata", Json, "{}"))
        table.add_column(sa.Column("tracking", sa.String(length=255), nullable=True))
        table.add_column(sa.Column("version", sa.Text(), nullable=True))
        table.add_column(sa.Column("size_bytes", sa.BigInteger(), nullable=True))
        table.create_foreign_key("fk_job_recordings_source_id", "job_sources", ["source_id"], ["id"])
    op.create_index("ix_jobs_state", "jobs", ["state"])
    op.create_index("ix_job_recordings_job_id_state", "job_recordings", ["job_id", "state"])
    op.create_index("ix_job_recordings_job_id_uri", "job_recordings", ["job_id", "uri"])
    op.create_index(
        "ix_job_recordings_failed",
        "job_recordings",
        ["tenant", "id"],
        postgresql_where=sa.text("state IN ('failed', 'partial')"),
        sqlite_where=sa.text("state IN ('failed', 'partial')"),
    )
    unfinished = sa.text("state IN ('queued', 'running')")
    op.create_index(
        "ix_jobs_unfinished", "jobs", ["tenant"], postgresql_where=unfinished, sqlite_where=unfinished
    )
    with _altered("events", {}) as table:
        table.drop_constraint("fk_events_job_id", type_="foreignkey")


def _alter_work() -> None:
    """Alter the work itself: recordings that are heard again, and passes of more kinds."""
    with _altered("recordings", {}) as table:
        table.add_column(_filled("generation", sa.Integer(), "0"))
        table.add_column(sa.Column("content_sha256", sa.String(length=64), nullable=True))
        table.add_column(sa.Column("timeline_used_at", UtcDateTime(), nullable=True))
        table.drop_constraint("uq_recordings_tenant_uri_version_channels", type_="unique")
        table.create_unique_constraint(
            "uq_recordings_tenant_uri_version_channels_generation",
            ["tenant", "uri", "version", "channels", "generation"],
        )
    op.drop_index("ix_passes_ready", table_name="passes")  # a copy would forget its order
    with _altered("passes", PASS_CHECKS) as table:
        table.add_column(sa.Column("source_id", Id(), nullable=True))
        table.add_column(sa.Column("delivery_id", Id(), nullable=True))
        table.create_foreign_key("fk_passes_source_id", "job_sources", ["source_id"], ["id"])
        table.create_foreign_key("fk_passes_delivery_id", "webhook_deliveries", ["delivery_id"], ["id"])
    op.drop_index("ix_passes_job_id", table_name="passes")
    op.create_index("ix_passes_job", "passes", ["job_id", "kind", "model", "id"])
    indexes: tuple[tuple[str, list[Any], str], ...] = (
        ("ready", ["kind", "model", sa.literal_column("priority DESC"), "virtual_time", "id"], READY_NOW),
        ("flow", ["tenant", "kind", "model", "priority", "virtual_time", "job_id"], READY_NOW),
        ("waiting", ["not_before"], "state = 'ready' AND not_before IS NOT NULL"),
    )
    op.create_index(
        "ix_passes_failed",
        "passes",
        ["kind", "error_code"],
        postgresql_where=sa.text("state = 'failed'"),
        sqlite_where=sa.text("state = 'failed'"),
    )
    for name, columns, condition in indexes:
        where = sa.text(condition)
        op.create_index(f"ix_passes_{name}", "passes", columns, postgresql_where=where, sqlite_where=where)


def _index_what_is_deleted() -> None:
    """Index what refers to rows that are deleted, or each deleted row would read whole tables; and what expires."""
    op.create_index("ix_results_pass_id", "results", ["pass_id"])
    for table, column in (
        ("jobs", "retry_of"),
        ("jobs", "expires_at"),
        ("job_recordings", "source_id"),
        ("passes", "job_recording_id"),
        ("passes", "chunk_id"),
        ("passes", "source_id"),
        ("passes", "delivery_id"),
    ):
        there = sa.text(f"{column} IS NOT NULL")
        op.create_index(f"ix_{table}_{column}", table, [column], postgresql_where=there, sqlite_where=there)
    op.execute("UPDATE recordings SET timeline_used_at = planned_at WHERE timeline_uri IS NOT NULL")
    there = sa.text("timeline_uri IS NOT NULL")
    op.create_index(
        "ix_recordings_timeline_used_at",
        "recordings",
        ["timeline_used_at"],
        postgresql_where=there,
        sqlite_where=there,
    )


@contextmanager
def _altered(name: str, checks: Mapping[str, str]) -> Iterator[BatchOperations]:
    """Yield a table to alter, with new checks by column, each a list of the values that may be."""
    with op.batch_alter_table(name) as table:
        for column, values in checks.items():
            listed = ", ".join(repr(value) for value in values.split())
            table.drop_constraint(op.f(f"ck_{name}_{column}"), type_="check")
            table.create_check_constraint(op.f(f"ck_{name}_{column}"), sa.text(f"{column} IN ({listed})"))
        yield table


def _filled(name: str, kind: Any, value: str) -> sa.Column[Any]:
    """Return a column that existing rows get with a value."""
    return sa.Column(name, kind, nullable=False, server_default=value)
