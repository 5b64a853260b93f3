"""Own API keys: random, stored as keyed hashes, shown once, found with the same work whether good or bad."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, exists, or_, select, update
from sqlalchemy.orm import Session

from db.clock import database_now
from db.statements import count_moved, insert_missing, insert_rows
from db.tables import ApiKey, Tenant
from db.types import new_id

STAMP_SECONDS = 60.0  # how often the last use of a key is written down, at most
MOST_CHARACTERS = 200  # of what may be a key

_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_FORM = re.compile(r"ew_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_NO_PREFIX = "none"  # what no key begins with
_NO_HASH = "0" * 64


class InvalidTenant(Exception):
    """A tenant's name has other characters than it may have."""

    code = "invalid_tenant"
    retryable = False


class NoSuchKey(Exception):
    """There is no key that begins so, or it was revoked before."""

    code = "no_such_key"
    retryable = False


class NoSuchTenant(Exception):
    """There is no such tenant."""

    code = "no_such_tenant"
    retryable = False


@dataclass(frozen=True)
class NewKey:
    """A key as it is shown once; ``prefix`` names it from then on."""

    text: str
    prefix: str


@dataclass(frozen=True)
class KeyUse:
    """Whose a good key is, and whether its use should be written down."""

    key_id: str
    tenant: str
    stamp: bool


def create_key(session: Session, tenant: str, name: str, secret: bytes) -> NewKey:
    """Make a key of a tenant, who comes to be with the first one; raises ``InvalidTenant``.

    A tenant may have any number of live keys: a new one is made before the old one is revoked.
    """
    if _TENANT.fullmatch(tenant) is None:
        raise InvalidTenant(
            f"{tenant!r} is no name of a tenant: use a-z, 0-9, - and _, 64 at most, a letter or digit first"
        )
    insert_missing(session, Tenant, {"id": tenant, "weight": 1.0})
    prefix = secrets.token_hex(6)
    text = f"ew_{prefix}_{secrets.token_urlsafe(32)}"
    row = {
        "id": new_id(),
        "tenant": tenant,
        "name": name[:128],
        "prefix": prefix,
        "hash": _hash(text, secret),
    }
    insert_rows(session, ApiKey, [row])
    return NewKey(text, prefix)


def find_key(session: Session, text: str, secret: bytes) -> KeyUse | None:
    """Return whose key this is, None when it is unknown, wrong or revoked: each costs one hash and one look-up."""
    text = text if len(text) <= MOST_CHARACTERS else ""
    form = _FORM.fullmatch(text)
    digest = _hash(text, secret)
    row = session.execute(
        select(ApiKey.id, ApiKey.tenant, ApiKey.hash, ApiKey.revoked_at, _is_stale().label("stale")).where(
            ApiKey.prefix == (form[1] if form else _NO_PREFIX)
        )
    ).first()
    fits = hmac.compare_digest(digest, row.hash if row is not None else _NO_HASH)
    if row is None or not fits or row.revoked_at is not None:
        return None
    return KeyUse(row.id, row.tenant, bool(row.stale))


def stamp_key(session: Session, use: KeyUse) -> None:
    """Write down that a key was used now, unless another process did within the minute."""
    count_moved(
        session,
        update(ApiKey).where(ApiKey.id == use.key_id, _is_stale()).values(last_used_at=database_now()),
    )


def _is_stale() -> ColumnElement[bool]:
    """Return the condition under which the use of a key is worth writing down."""
    return or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < database_now(-STAMP_SECONDS))


def revoke_key(session: Session, prefix: str) -> None:
    """End a key, at once; raises ``NoSuchKey``. It stays in the table, as a name for what it did."""
    named = prefix.removeprefix("ew_").partition("_")[0]
    moved = count_moved(
        session,
        update(ApiKey)
        .where(ApiKey.prefix == named, ApiKey.revoked_at.is_(None))
        .values(revoked_at=database_now()),
    )
    if not moved:
        raise NoSuchKey(f"there is no live key {named}: see `earwitness keys list`")


def list_keys(session: Session, tenant: str | None = None) -> Sequence[ApiKey]:
    """Return the keys of a tenant, or of all, in the order of their making."""
    query = select(ApiKey).order_by(ApiKey.tenant, ApiKey.id)
    return session.scalars(query if tenant is None else query.where(ApiKey.tenant == tenant)).all()


def any_live_key(session: Session) -> bool:
    """Say whether anybody holds a key that works."""
    return bool(session.scalar(select(exists().where(ApiKey.revoked_at.is_(None)))))


def list_tenants(session: Session) -> Sequence[Tenant]:
    """Return all tenants by name."""
    return session.scalars(select(Tenant).order_by(Tenant.id)).all()


def set_tenant(session: Session, tenant: str, *, weight: float | None, max_queued: int | None) -> None:
    """Set a tenant's share of the workers or how many of its recordings may wait; raises ``NoSuchTenant``.

    A weight is a positive number; 0 recordings means the service's limit again.
    """
    values: dict[str, float | int | None] = {}
    if weight is not None:
        values["weight"] = weight
    if max_queued is not None:
        values["max_queued"] = max_queued or None
    known = session.scalar(select(Tenant.id).where(Tenant.id == tenant))
    if known is None:
        raise NoSuchTenant(f"there is no tenant {tenant}: it comes to be with its first key")
    if values:
        count_moved(session, update(Tenant).where(Tenant.id == tenant).values(**values))


def _hash(text: str, secret: bytes) -> str:
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()
