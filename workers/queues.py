"""Name Celery's queues: one for each kind of work, and for hearing one for each model."""

from __future__ import annotations

import hashlib
import re

from db.states import PassKind


def queue_name(kind: PassKind, model: str = "") -> str:
    """Return the Celery queue of a kind of work; each model has its own, since a worker serves one."""
    if not model:
        return f"earwitness.{kind}"
    digest = hashlib.sha256(model.encode()).hexdigest()[:8]
    return f"earwitness.{kind}.{re.sub(r'[^A-Za-z0-9]+', '-', model).strip('-')[-40:]}.{digest}"
