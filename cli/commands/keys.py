"""Make, list and revoke API keys, in the database of the settings."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.database import opened_database
from cli.tables import keys_table
from cli.terminal import out, say
from settings import load_settings

app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Make, list and revoke API keys."""


@app.command()
def create(
    tenant: Annotated[str, typer.Option(help="Whose key it is; a new name makes a new tenant.")] = "default",
    name: Annotated[str, typer.Option(help="What it is for, to know it by later.")] = "",
) -> None:
    """Make a key and print it. It is shown this once: only a hash of it is stored."""
    from db.keys import create_key
    from settings.key_secret import load_key_secret

    settings = load_settings()
    with opened_database(settings) as database, database.write() as session:
        key = create_key(session, tenant, name, load_key_secret(settings))
    out.print(key.text, highlight=False, soft_wrap=True)
    say(
        f"a key of the tenant {tenant}; it is not shown again. Revoke it with `earwitness keys revoke {key.prefix}`"
    )


@app.command("list")
def list_keys(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
) -> None:
    """List the keys by what they begin with, and when they were used last."""
    from db.keys import list_keys as query_keys

    with opened_database(load_settings()) as database, database.read() as session:
        out.print(keys_table(query_keys(session, tenant)))


@app.command()
def revoke(
    prefix: Annotated[str, typer.Argument(help="What the key begins with, as the list shows it.")],
) -> None:
    """End a key. The next request with it is refused."""
    from db.keys import revoke_key

    with opened_database(load_settings()) as database, database.write() as session:
        revoke_key(session, prefix)
    say(f"{prefix} is revoked")
