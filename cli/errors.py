"""Name what can go wrong on the command line; each message is what the user reads."""

from __future__ import annotations

from typing import Any


class CliError(Exception):
    """The command cannot go on."""

    code = "cli_error"
    retryable = False


class ApiUnreachable(CliError):
    """Nobody answers at the API's URL; ``may_be_done`` where what was asked may have got through."""

    code = "api_unreachable"
    retryable = True

    def __init__(self, message: str, *, may_be_done: bool = False) -> None:
        super().__init__(message)
        self.may_be_done = may_be_done


class ApiProblem(CliError):
    """The API refused, with a problem document."""

    code = "api_problem"

    def __init__(self, problem: dict[str, Any]) -> None:
        self.problem = problem
        self.status = int(problem.get("status", 0))
        fields = [f"  {error['field']}: {error['message']}" for error in problem.get("errors", [])]
        head = f"{problem.get('title', 'The API refused')} ({problem.get('code', self.status)})"
        hint = ["  This command sends what is in EARWITNESS_API_KEY."] if self.status == 401 else []
        super().__init__("\n".join([head, *(fields or [f"  {problem.get('detail', '')}"]), *hint]))


class InvalidKey(CliError):
    """The key of the settings cannot be sent."""

    code = "invalid_key"


class Unsendable(CliError):
    """What was asked cannot be written as the API reads it."""

    code = "unsendable"


class InvalidTask(CliError):
    """A task on the command line is not written as NAME or NAME:OPTION=VALUE,..."""

    code = "invalid_task"


class InvalidSource(CliError):
    """Sources or notes on the command line do not go together, or are not written as they should."""

    code = "invalid_source"


class SourceNotFound(CliError):
    """A path on the command line leads to nothing."""

    code = "source_not_found"


class PortTaken(CliError):
    """Another process listens on the API's port."""

    code = "port_taken"


class ProcessFailed(CliError):
    """A process of the service ended, and starting it again did not help."""

    code = "process_failed"


class NotReadyInTime(CliError):
    """The service did not become ready."""

    code = "not_ready_in_time"


class MissingPackages(CliError):
    """Python packages that this command needs are not installed."""

    code = "missing_packages"


class NoGpu(CliError):
    """There is no GPU that torch could use."""

    code = "no_gpu"


class UnknownGpu(CliError):
    """A GPU was asked for that is not there."""

    code = "unknown_gpu"


class NoModel(CliError):
    """A model that the settings name is not there, so its worker could not start."""

    code = "no_model"


class NoKeys(CliError):
    """The API would listen on a network, and nobody has a key."""

    code = "no_keys"
