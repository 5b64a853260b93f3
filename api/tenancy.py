"""Say whose request this is: one place, so that keys can come later."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

DEFAULT_TENANT = "default"


def current_tenant() -> str:
    """Return the tenant of the request; everybody is ``default`` until keys exist."""
    return DEFAULT_TENANT


Tenant = Annotated[str, Depends(current_tenant)]
"""A route's parameter of this type is the tenant that every query is bound to."""
