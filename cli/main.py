"""Be the ``earwitness`` command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from cli.commands import (
    bench,
    database,
    demo,
    doctor,
    evaluate,
    job_actions,
    jobs,
    keys,
    operations,
    service,
    tenants,
    webhooks,
)
from cli.errors import CliError
from cli.terminal import err, plain
from settings import InvalidSettings


class _PoliteGroup(TyperGroup):
    """Print what went wrong, without a traceback, and exit with 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            if not isinstance(error, _errors_to_tell()):
                raise
            err.print(plain(f"earwitness: {error}", "red"), highlight=False, soft_wrap=True)
            raise typer.Exit(1) from None


def _errors_to_tell() -> tuple[type[Exception], ...]:
    # Imported when something went wrong: SQLAlchemy costs a client a quarter of a second that it has no use for.
    from db.database import DatabaseUnavailable
    from db.keys import InvalidTenant, NoSuchKey, NoSuchTenant
    from db.upgrade import SchemaOutdated

    of_keys = (InvalidTenant, NoSuchKey, NoSuchTenant)
    return (CliError, InvalidSettings, DatabaseUnavailable, SchemaOutdated, *of_keys)


app = typer.Typer(
    cls=_PoliteGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Listen to audio archives and write down, in SQL, what was heard.",
)
_COMMANDS: Sequence[Callable[..., None]] = (
    service.up, jobs.submit, jobs.status, jobs.results, jobs.tasks,
    job_actions.cancel, job_actions.retry, job_actions.extend, job_actions.delete,
    operations.jobs, operations.failures, operations.workers, operations.queue,
)  # fmt: skip
for command in _COMMANDS:
    app.command()(command)
app.command("doctor")(doctor.doctor)
app.command("demo")(demo.demo)
app.command("bench")(bench.bench)
app.command("evaluate")(evaluate.evaluate)
app.command("api")(service.api)
app.command("worker")(service.worker)
app.add_typer(database.app, name="db")
app.add_typer(keys.app, name="keys")
app.add_typer(tenants.app, name="tenants")
app.add_typer(webhooks.app, name="webhooks")

if __name__ == "__main__":
    app()
