"""Register webhooks, and see and repeat what they were told; a client of the API."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.client import Json
from cli.commands.jobs import Api, AsJson, an_id, open_client
from cli.tables import deliveries_table, webhooks_table
from cli.terminal import out, plain, print_json, say

app = typer.Typer(no_args_is_help=True, help="Who is told what happens to jobs.")

PATH = "/v1/webhooks"

WebhookId = Annotated[str, typer.Argument(help="The id of a webhook.", callback=an_id)]


@app.command("add")
def add(
    url: Annotated[str, typer.Argument(help="An https:// URL.")],
    event: Annotated[
        list[str] | None,
        typer.Option(
            help="What to tell, such as job.failed or recording.succeeded; by default how jobs ended."
        ),
    ] = None,
    as_json: AsJson = False,
    api: Api = None,
) -> None:
    """Tell a URL of every job. Prints the secret that signs the messages, this once."""
    with open_client(api) as client:
        _show_secret(client.post(PATH, {"url": url, **({"events": event} if event else {})}), as_json)


@app.command("list")
def list_(as_json: AsJson = False, api: Api = None) -> None:
    """List webhooks, with whether they work."""
    with open_client(api) as client:
        found = list(client.pages(PATH, limit=200))
    print_json(found) if as_json else out.print(webhooks_table(found))


@app.command("remove")
def remove(webhook_id: WebhookId, api: Api = None) -> None:
    """Remove a webhook with the log of its deliveries."""
    with open_client(api) as client:
        client.delete(f"{PATH}/{webhook_id}")
    say("removed")


@app.command("enable")
def enable(webhook_id: WebhookId, api: Api = None) -> None:
    """Send to a disabled webhook again."""
    with open_client(api) as client:
        out.print(webhooks_table([client.post(f"{PATH}/{webhook_id}/enable")]))


@app.command("deliveries")
def deliveries(
    webhook_id: WebhookId,
    state: Annotated[str | None, typer.Option(help="pending, delivered, failed or cancelled.")] = None,
    limit: Annotated[int, typer.Option(help="How many to list.", min=1, max=200)] = 20,
    as_json: AsJson = False,
    api: Api = None,
) -> None:
    """List what a webhook was told, the newest first, with every try."""
    wanted: dict[str, str | int] = {"limit": limit, **({"state": state} if state else {})}
    with open_client(api) as client:
        found = client.get(f"{PATH}/{webhook_id}/deliveries", **wanted)["items"]
    print_json(found) if as_json else out.print(deliveries_table(found))


@app.command("redeliver")
def redeliver(
    webhook_id: WebhookId,
    delivery_id: Annotated[str, typer.Argument(help="The id of a delivery.", callback=an_id)],
    api: Api = None,
) -> None:
    """Send a message again, under the same webhook-id."""
    with open_client(api) as client:
        out.print(deliveries_table([client.post(f"{PATH}/{webhook_id}/deliveries/{delivery_id}/redeliver")]))


@app.command("rotate")
def rotate(
    webhook_id: WebhookId,
    finish: Annotated[
        bool, typer.Option("--finish", help="Drop the old secret: only the newest signs.")
    ] = False,
    as_json: AsJson = False,
    api: Api = None,
) -> None:
    """Print a new secret; the old one signs beside it until --finish."""
    with open_client(api) as client:
        if finish:
            client.delete(f"{PATH}/{webhook_id}/old-secret")
            say("only the newest secret signs now")
            return
        _show_secret(client.post(f"{PATH}/{webhook_id}/rotate"), as_json)


def _show_secret(webhook: Json, as_json: bool) -> None:
    if as_json:
        print_json(webhook)
        return
    out.print(plain(f"{webhook['id']} {webhook['secret']}"), highlight=False, soft_wrap=True)
    say("keep the secret: it is shown this once")
