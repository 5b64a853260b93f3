"""Let a job know objects by their bytes: what it takes for the same, and an index over what recordings hold.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

KNOWN = "content_sha256 IS NOT NULL"


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "jobs", sa.Column("identity", sa.String(length=8), nullable=False, server_default="version")
    )
    op.create_index(
        "ix_recordings_content_sha256",
        "recordings",
        ["content_sha256"],
        postgresql_where=sa.text(KNOWN),
        sqlite_where=sa.text(KNOWN),
    )
