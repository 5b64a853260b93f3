"""List tenants, and set their shares and limits."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.database import opened_database
from cli.tables import tenants_table
from cli.terminal import out, say
from settings import load_settings

app = typer.Typer(help="List tenants, and set their shares and limits.", no_args_is_help=True)


MOST_QUEUED = 2**31 - 1  # what the column holds


@app.callback()
def _group() -> None:
    """List tenants, and set their shares and limits."""


@app.command("list")
def list_tenants() -> None:
    """List the tenants with their shares, their limits and how many of their recordings wait."""
    from db.keys import list_tenants as query_tenants
    from db.waiting import count_waiting

    with opened_database(load_settings()) as database, database.read() as session:
        tenants = query_tenants(session)
        waiting = {tenant.id: count_waiting(session, tenant.id).recordings for tenant in tenants}
    out.print(tenants_table(tenants, waiting))


@app.command("set")
def set_tenant(
    tenant: Annotated[str, typer.Argument(help="The tenant.")],
    weight: Annotated[
        float | None,
        typer.Option(help="Its share of the workers beside the others', 1 at first.", min=0.001, max=1000.0),
    ] = None,
    max_queued: Annotated[
        int | None,
        typer.Option(
            help="Recordings of it that may wait; 0 for the service's limit.", min=0, max=MOST_QUEUED
        ),
    ] = None,
) -> None:
    """Set a tenant's share or limit. A share counts for work that becomes ready from now on."""
    from db.keys import set_tenant as store

    with opened_database(load_settings()) as database, database.write() as session:
        store(session, tenant, weight=weight, max_queued=max_queued)
    say(f"{tenant} is set")
