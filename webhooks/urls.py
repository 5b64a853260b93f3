"""Read the URL of a webhook, once and strictly: what two readers could understand differently is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from webhooks.addresses import is_public
from webhooks.errors import InvalidWebhookUrl

MAX_URL_CHARACTERS = 2_048
PUBLIC_PORTS = (443, 8443)

# Said to whoever registers, who on a machine of their own is the operator too.
_LIFT = "for receivers of your own network the service needs EARWITNESS_WEBHOOK_ALLOW_PRIVATE=true"
_HOST_NAME = re.compile(
    r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?"
)
_DEFAULT_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True)
class Target:
    """Where to post: the parts of a URL that has been read."""

    scheme: str
    host: str  # a name, or an address without brackets
    port: int
    path: str  # with the query

    @property
    def host_header(self) -> str:
        """The host as HTTP names it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def read_url(url: str, *, allow_private: bool) -> Target:
    """Return where a URL leads; raises ``InvalidWebhookUrl``.

    Without ``allow_private`` only https on its usual ports is taken. Whether a name leads into a private network shows
    when it is resolved, at each delivery; an address that does so in plain sight is refused here already.
    """
    if len(url) > MAX_URL_CHARACTERS:
        raise InvalidWebhookUrl(f"the URL is longer than {MAX_URL_CHARACTERS} characters")
    if not url.isascii() or any(c <= " " or c in '\x7f\\"<>^`{|}' for c in url):
        raise InvalidWebhookUrl(
            "the URL holds characters that have to be percent-encoded (or punycode, in the host)"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidWebhookUrl(f"this is no URL: {error}") from None
    if parts.scheme not in (("https", "http") if allow_private else ("https",)):
        raise InvalidWebhookUrl(
            "a webhook is an https:// or http:// URL"
            if allow_private
            else f"a webhook is an https:// URL; {_LIFT}"
        )
    if "@" in parts.netloc:
        raise InvalidWebhookUrl("the URL may hold no user or password: messages are signed instead")
    if "#" in url:
        raise InvalidWebhookUrl("the URL may hold no fragment")
    host = parts.hostname or ""
    if not _is_host(host, bracketed="[" in parts.netloc):
        raise InvalidWebhookUrl("the URL names no host")
    port = _DEFAULT_PORTS[parts.scheme] if port is None else port
    if not allow_private:
        _refuse_private(host, port)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port, path)


def _is_host(host: str, *, bracketed: bool) -> bool:
    if not bracketed:
        return len(host) <= 253 and _HOST_NAME.fullmatch(host) is not None
    try:
        return ip_address(host).version == 6 and "%" not in host
    except ValueError:
        return False


def _refuse_private(host: str, port: int) -> None:
    if port not in PUBLIC_PORTS:
        ports = " or ".join(map(str, PUBLIC_PORTS))
        raise InvalidWebhookUrl(f"port {port} is not accepted: use {ports}; {_LIFT}")
    try:
        ip_address(host)
    except ValueError:
        return  # a name: its addresses are looked at when it is resolved
    if not is_public(host):
        raise InvalidWebhookUrl(f"{host} lies in a private network; {_LIFT}")
