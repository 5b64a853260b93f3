"""Name what can keep a message from its receiver; the codes stand in ``webhook_attempts.error_code``."""

from __future__ import annotations


class WebhookError(Exception):
    """A message did not reach its receiver."""

    code = "webhook_error"
    retryable = True


class InvalidWebhookUrl(WebhookError):
    """The URL is not one that we would ever post to."""

    code = "webhook_invalid_url"
    retryable = False


class RefusedAddress(WebhookError):
    """The host leads to an address inside a private network, which only the operator can allow."""

    code = "webhook_refused_address"


class UnresolvedHost(WebhookError):
    """The name of the host leads to no address."""

    code = "webhook_unresolved"


class Unreachable(WebhookError):
    """Nobody takes the connection, or its TLS certificate does not hold."""

    code = "webhook_unreachable"


class TimedOut(WebhookError):
    """The receiver took too long."""

    code = "webhook_timeout"


class BadAnswer(WebhookError):
    """What came back is no HTTP."""

    code = "webhook_bad_answer"


class Refused(WebhookError):
    """The receiver answered with a status that is no success; redirects count as one, and are not followed."""

    code = "webhook_status"

    def __init__(self, status_code: int) -> None:
        where = ": redirects are not followed" if 300 <= status_code < 400 else ""
        super().__init__(f"the receiver answered with status {status_code}{where}")
        self.status_code = status_code
