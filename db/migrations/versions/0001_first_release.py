"""Create every table of the first release."""

import sqlalchemy as sa
from alembic import op

from db.types import Id, Json, UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "jobs",
        sa.Column("id", Id(), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("channels", sa.String(length=8), nullable=False),
        sa.Column("metadata", Json, nullable=False),
        sa.Column("recordings_total", sa.Integer(), nullable=False),
        sa.Column("recordings_done", sa.Integer(), nullable=False),
        sa.Column("recordings_partial", sa.Integer(), nullable=False),
        sa.Column("recordings_failed", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=True),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'succeeded', 'partial', 'failed', 'cancelled')",
            name=op.f("ck_jobs_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index(op.f("ix_jobs_tenant_id"), "jobs", ["tenant", "id"], unique=False)
    op.create_table(
        "recordings",
        sa.Column("id", Id(), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("channels", sa.String(length=8), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("container", sa.String(length=32), nullable=True),
        sa.Column("codec", sa.String(length=32), nullable=True),
        sa.Column("sampling_rate", sa.Integer(), nullable=True),
        sa.Column("source_channels", sa.Integer(), nullable=True),
        sa.Column("channel_count", sa.Integer(), nullable=True),
        sa.Column("duration_samples", sa.BigInteger(), nullable=True),
        sa.Column("duration_ms", sa.BigInteger(), nullable=True),
        sa.Column("declared_ms", sa.BigInteger(), nullable=True),
        sa.Column("speech_ms", sa.BigInteger(), nullable=True),
        sa.Column("truncated", sa.Boolean(), nullable=False),
        sa.Column("chunk_count", sa.Integer(), nullable=True),
        sa.Column("timeline_uri", sa.Text(), nullable=True),
        sa.Column("timeline_sha256", sa.String(length=64), nullable=True),
        sa.Column("warnings", Json, nullable=False),
        sa.Column("error_code", sa.String(length=64), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("planned_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint("state IN ('new', 'planned', 'invalid')", name=op.f("ck_recordings_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recordings")),
        sa.UniqueConstraint(
            "tenant", "uri", "version", "channels", name=op.f("uq_recordings_tenant_uri_version_channels")
        ),
    )
    op.create_table(
        "requests",
        sa.Column("id", Id(), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("task", sa.String(length=32), nullable=False),
        sa.Column("options", Json, nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("prompt_version", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_requests")),
        sa.UniqueConstraint("tenant", "key", name=op.f("uq_requests_tenant_key")),
    )
    op.create_table(
        "annotations",
        sa.Column("id", Id(), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("recording_id", Id(), nullable=False),
        sa.Column("request_id", Id(), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("task", sa.String(length=32), nullable=False),
        sa.Column("channel", sa.SmallInteger(), nullable=False),
        sa.Column("start_sample", sa.BigInteger(), nullable=False),
        sa.Column("end_sample", sa.BigInteger(), nullable=False),
        sa.Column("start_ms", sa.BigInteger(), nullable=False),
        sa.Column("end_ms", sa.BigInteger(), nullable=False),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("data", Json, nullable=False),
        sa.Column("flags", Json, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["recording_id"], ["recordings.id"], name=op.f("fk_annotations_recording_id")
        ),
        sa.ForeignKeyConstraint(["request_id"], ["requests.id"], name=op.f("fk_annotations_request_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_annotations")),
        sa.UniqueConstraint(
            "recording_id", "request_id", "index", name=op.f("uq_annotations_recording_id_request_id_index")
        ),
    )
    op.create_index(
        op.f("ix_annotations_recording_id_task_start_ms"),
        "annotations",
        ["recording_id", "task", "start_ms"],
        unique=False,
    )
    op.create_index(
        op.f("ix_annotations_tenant_task_label"), "annotations", ["tenant", "task", "label"], unique=False
    )
    op.create_table(
        "chunks",
        sa.Column("id", Id(), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("recording_id", Id(), nullable=False),
        sa.Column("channel", sa.SmallInteger(), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("owned_start", sa.BigInteger(), nullable=False),
        sa.Column("owned_end", sa.BigInteger(), nullable=False),
        sa.Column("heard_start", sa.BigInteger(), nullable=False),
        sa.Column("heard_end", sa.BigInteger(), nullable=False),
        sa.Column("start_ms", sa.BigInteger(), nullable=False),
        sa.Column("end_ms", sa.BigInteger(), nullable=False),
        sa.Column("speech", Json, nullable=False),
        sa.Column("speech_samples", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "heard_start <= owned_start AND owned_start < owned_end AND owned_end <= heard_end",
            name=op.f("ck_chunks_spans"),
        ),
        sa.ForeignKeyConstraint(["recording_id"], ["recordings.id"], name=op.f("fk_chunks_recording_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chunks")),
        sa.UniqueConstraint(
            "recording_id", "channel", "index", name=op.f("uq_chunks_recording_id_channel_index")
        ),
    )
    op.create_table(
        "events",
        sa.Column("id", Id(), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("job_id", Id(), nullable=False),
        sa.Column("job_recording_id", Id(), nullable=True),
        sa.Column("pass_id", Id(), nullable=True),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("data", Json, nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_events_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index(op.f("ix_events_job_id_id"), "events", ["job_id", "id"], unique=False)
    op.create_table(
        "job_recordings",
        sa.Column("id", Id(), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("job_id", Id(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("recording_id", Id(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("error_code", sa.String(length=64), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint(
            "state IN ('queued', 'understanding', 'finishing', 'succeeded', 'partial', 'failed', 'cancelled')",
            name=op.f("ck_job_recordings_state"),
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_recordings_job_id")),
        sa.ForeignKeyConstraint(
            ["recording_id"], ["recordings.id"], name=op.f("fk_job_recordings_recording_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_recordings")),
        sa.UniqueConstraint("job_id", "position", name=op.f("uq_job_recordings_job_id_position")),
    )
    op.create_index(
        op.f("ix_job_recordings_recording_id_state"),
        "job_recordings",
        ["recording_id", "state"],
        unique=False,
    )
    op.create_table(
        "job_requests",
        sa.Column("job_id", Id(), nullable=False),
        sa.Column("request_id", Id(), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_requests_job_id")),
        sa.ForeignKeyConstraint(["request_id"], ["requests.id"], name=op.f("fk_job_requests_request_id")),
        sa.PrimaryKeyConstraint("job_id", "request_id", name=op.f("pk_job_requests")),
    )
    op.create_table(
        "recording_requests",
        sa.Column("recording_id", Id(), nullable=False),
        sa.Column("request_id", Id(), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("chunks_total", sa.Integer(), nullable=False),
        sa.Column("chunks_done", sa.Integer(), nullable=False),
        sa.Column("chunks_failed", sa.Integer(), nullable=False),
        sa.Column("chunks_skipped", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "state IN ('open', 'heard', 'stitched')", name=op.f("ck_recording_requests_state")
        ),
        sa.ForeignKeyConstraint(
            ["recording_id"], ["recordings.id"], name=op.f("fk_recording_requests_recording_id")
        ),
        sa.ForeignKeyConstraint(
            ["request_id"], ["requests.id"], name=op.f("fk_recording_requests_request_id")
        ),
        sa.PrimaryKeyConstraint("recording_id", "request_id", name=op.f("pk_recording_requests")),
    )
    op.create_table(
        "segments",
        sa.Column("id", Id(), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("recording_id", Id(), nullable=False),
        sa.Column("request_id", Id(), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("channel", sa.SmallInteger(), nullable=False),
        sa.Column("start_sample", sa.BigInteger(), nullable=False),
        sa.Column("end_sample", sa.BigInteger(), nullable=False),
        sa.Column("start_ms", sa.BigInteger(), nullable=False),
        sa.Column("end_ms", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("language", sa.String(length=8), nullable=True),
        sa.Column("words", Json, nullable=False),
        sa.Column("avg_logprob", sa.Double(), nullable=True),
        sa.Column("flags", Json, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["recording_id"], ["recordings.id"], name=op.f("fk_segments_recording_id")),
        sa.ForeignKeyConstraint(["request_id"], ["requests.id"], name=op.f("fk_segments_request_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_segments")),
        sa.UniqueConstraint(
            "recording_id", "request_id", "index", name=op.f("uq_segments_recording_id_request_id_index")
        ),
    )
    op.create_index(
        op.f("ix_segments_recording_id_start_ms"), "segments", ["recording_id", "start_ms"], unique=False
    )
    op.create_table(
        "passes",
        sa.Column("id", Id(), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("job_id", Id(), nullable=False),
        sa.Column("job_recording_id", Id(), nullable=True),
        sa.Column("recording_id", Id(), nullable=True),
        sa.Column("chunk_id", Id(), nullable=True),
        sa.Column("request_ids", Json, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("virtual_time", sa.Float(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("errors", sa.Integer(), nullable=False),
        sa.Column("crashes", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(length=128), nullable=True),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("not_before", UtcDateTime(), nullable=True),
        sa.Column("error_code", sa.String(length=64), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint("kind IN ('plan', 'understand', 'finish')", name=op.f("ck_passes_kind")),
        sa.CheckConstraint(
            "state IN ('ready', 'leased', 'done', 'failed', 'cancelled')", name=op.f("ck_passes_state")
        ),
        sa.ForeignKeyConstraint(["chunk_id"], ["chunks.id"], name=op.f("fk_passes_chunk_id")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_passes_job_id")),
        sa.ForeignKeyConstraint(
            ["job_recording_id"], ["job_recordings.id"], name=op.f("fk_passes_job_recording_id")
        ),
        sa.ForeignKeyConstraint(["recording_id"], ["recordings.id"], name=op.f("fk_passes_recording_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_passes")),
    )
    op.create_index(op.f("ix_passes_job_id"), "passes", ["job_id"], unique=False)
    op.create_index(
        "ix_passes_leased",
        "passes",
        ["lease_until"],
        unique=False,
        postgresql_where=sa.text("state = 'leased'"),
        sqlite_where=sa.text("state = 'leased'"),
    )
    op.create_index(
        "ix_passes_ready",
        "passes",
        ["kind", "model", sa.literal_column("priority DESC"), "virtual_time", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'ready'"),
        sqlite_where=sa.text("state = 'ready'"),
    )
    op.create_index(op.f("ix_passes_recording_id"), "passes", ["recording_id"], unique=False)
    op.create_table(
        "results",
        sa.Column("id", Id(), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("recording_id", Id(), nullable=False),
        sa.Column("chunk_id", Id(), nullable=False),
        sa.Column("request_id", Id(), nullable=False),
        sa.Column("pass_id", Id(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("raw_text", sa.Text(), nullable=False),
        sa.Column("parsed", Json, nullable=False),
        sa.Column("flags", Json, nullable=False),
        sa.Column("finish_reason", sa.String(length=16), nullable=False),
        sa.Column("avg_logprob", sa.Double(), nullable=True),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("model_revision", sa.String(length=64), nullable=False),
        sa.Column("prompt_version", sa.Integer(), nullable=False),
        sa.Column("numbers", Json, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["chunk_id"], ["chunks.id"], name=op.f("fk_results_chunk_id")),
        sa.ForeignKeyConstraint(["pass_id"], ["passes.id"], name=op.f("fk_results_pass_id")),
        sa.ForeignKeyConstraint(["recording_id"], ["recordings.id"], name=op.f("fk_results_recording_id")),
        sa.ForeignKeyConstraint(["request_id"], ["requests.id"], name=op.f("fk_results_request_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_results")),
        sa.UniqueConstraint("chunk_id", "request_id", name=op.f("uq_results_chunk_id_request_id")),
    )
    op.create_index(
        op.f("ix_results_recording_id_request_id"), "results", ["recording_id", "request_id"], unique=False
    )
