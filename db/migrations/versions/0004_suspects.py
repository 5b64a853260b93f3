"""Find the few passes that one more crash may set aside without a walk over all that is ready.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SUSPECT_NOW = "state = 'ready' AND not_before IS NULL AND crashes >= 2"


def upgrade() -> None:
    """Apply."""
    op.create_index(
        "ix_passes_suspect",
        "passes",
        ["kind", "model", sa.literal_column("priority DESC"), "virtual_time", "id"],
        postgresql_where=sa.text(SUSPECT_NOW),
        sqlite_where=sa.text(SUSPECT_NOW),
    )
