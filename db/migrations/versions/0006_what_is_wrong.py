"""Find the prefixes and manifests that failed without reading all there are, and let workers say why they rest.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

FAILED = "state = 'failed'"


def upgrade() -> None:
    """Apply."""
    op.add_column("workers", sa.Column("trouble", sa.Text(), nullable=True))
    op.create_index(
        "ix_job_sources_failed",
        "job_sources",
        ["tenant", "id"],
        postgresql_where=sa.text(FAILED),
        sqlite_where=sa.text(FAILED),
    )
