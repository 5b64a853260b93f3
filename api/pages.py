"""Page by key: an answer names the cursor behind which the next page begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Generic, TypeVar
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field, WithJsonSchema

from api.inputs import Input, refusal

MAX_LIMIT = 200
MAX_FINDINGS_LIMIT = 1_000
MAX_POSITION = 2**31 - 1  # the database's integer

Item = TypeVar("Item", bound=BaseModel)
Row = TypeVar("Row")


def _canonical(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise refusal("invalid_id", "an id is a UUID") from None


Id = Annotated[str, AfterValidator(_canonical), WithJsonSchema({"type": "string", "format": "uuid"})]
"""An id from a client: a UUID in any spelling, turned into the text that the database holds."""

Limit = Annotated[int, Field(50, ge=1, le=MAX_LIMIT, description="Items on a page, at most.")]

Cursor = Annotated[Id | None, Field(None, description="The `next` of the page before.")]


class Page(BaseModel, Generic[Item]):
    """A page of a list."""

    items: list[Item] = Field(description="The things asked for, in the list's order.")
    next: str | None = Field(description="Give it as `after` to get the next page; null on the last one.")


class FindingsQuery(Input):
    """How to page through what was found on a recording."""

    limit: int = Field(200, ge=1, le=MAX_FINDINGS_LIMIT, description="Items on a page, at most.")
    after: Cursor
    request: Annotated[
        Id | None, Field(None, description="Only what this request found; see the job's `requests`.")
    ]


def make_page(
    rows: Sequence[Row], limit: int, show: Callable[[Row], Item], cursor: Callable[[Row], str | int]
) -> Page[Item]:
    """Return the page of ``rows``, which hold one more than ``limit`` when there is another page."""
    shown = rows[:limit]
    following = str(cursor(shown[-1])) if len(rows) > limit else None
    return Page(items=[show(row) for row in shown], next=following)
