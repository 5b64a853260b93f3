"""Say more of segments, and sum recordings up.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from db.types import Id, Json, UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("segments", sa.Column("compression_ratio", sa.Double(), nullable=True))
    op.add_column("segments", sa.Column("no_speech_prob", sa.Double(), nullable=True))
    op.create_table(
        "summaries",
        sa.Column("recording_id", Id(), nullable=False),
        sa.Column("request_id", Id(), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("task", sa.String(length=32), nullable=False),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("data", Json, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["recording_id"], ["recordings.id"], name=op.f("fk_summaries_recording_id")),
        sa.ForeignKeyConstraint(["request_id"], ["requests.id"], name=op.f("fk_summaries_request_id")),
        sa.PrimaryKeyConstraint("recording_id", "request_id", name=op.f("pk_summaries")),
    )
    op.create_index(
        op.f("ix_summaries_tenant_task_label"), "summaries", ["tenant", "task", "label"], unique=False
    )
