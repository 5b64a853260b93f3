"""Take files from clients that have no object store, block by block into ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager

from anyio import CancelScope
from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field

from api.body_limit import BodyTooLarge
from api.idempotency import refuse_key
from api.multipart import FIELD, FilePart
from api.problems import Problem
from api.services import Services, Wired
from api.tenancy import Tenant
from db.types import new_id
from storage import BLOCK_BYTES, ObjectWriter
from storage.uploads import resolve_source, safe_name, upload_uri

PATH = "/v1/uploads"

router = APIRouter(tags=["uploads"])

_FORM = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": [FIELD],
                "additionalProperties": False,
                "properties": {
                    FIELD: {"type": "string", "format": "binary", "description": "The audio file."}
                },
            }
        }
    },
}


class Upload(BaseModel):
    """A file that a job can name as a source."""

    uri: str = Field(
        description="Use it as a source of a job.",
        examples=["upload://0198f0a1-7c5e-7000-8000-000000000001/call.wav"],
    )
    size_bytes: int = Field(description="Its size in bytes.", examples=[352_844])


@router.post(
    PATH,
    status_code=201,
    summary="Upload a file",
    responses={413: {"model": Problem, "description": "The file is too large."}},
    dependencies=[Depends(refuse_key)],
    openapi_extra={"requestBody": _FORM},
)
async def upload_file(request: Request, response: Response, services: Wired, tenant: Tenant) -> Upload:
    """Store one file and return the `upload://` URI that names it in jobs. Nothing is kept of a broken upload."""
    part = FilePart(request)
    uri = upload_uri(new_id(), safe_name(await part.open()))
    where = resolve_source(uri, tenant, services.settings.resolved_storage_url)
    size = await _store(services, where, part.blocks(), services.settings.max_upload_bytes)
    return Upload(uri=uri, size_bytes=size)


async def _store(services: Services, where: str, blocks: AsyncIterator[bytes], limit_bytes: int) -> int:
    """Write the blocks and return their size; raises ``BodyTooLarge``, and then nothing is left behind."""
    size = 0
    waiting = bytearray()
    async with _in_threads(services, services.store.writer(where)) as writer:
        async for block in blocks:
            size += len(block)
            if size > limit_bytes:
                raise BodyTooLarge(limit_bytes)
            waiting += block
            if len(waiting) >= BLOCK_BYTES:
                await services.at_storage(writer.write, bytes(waiting))
                waiting.clear()
        await services.at_storage(writer.write, bytes(waiting))
    return size


@asynccontextmanager
async def _in_threads(
    services: Services, manager: AbstractContextManager[ObjectWriter]
) -> AsyncIterator[ObjectWriter]:
    """Enter and leave a writer in threads, so that a slow store does not hold up the event loop."""
    writer = await services.at_storage(manager.__enter__)
    try:
        yield writer
    except BaseException as error:
        with CancelScope(shield=True):  # a cancelled request still has to drop its parts
            await services.at_storage(manager.__exit__, type(error), error, error.__traceback__)
        raise
    await services.at_storage(manager.__exit__, None, None, None)
