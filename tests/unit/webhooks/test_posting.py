"""Post to public addresses only, whatever a URL, a resolver or a receiver does."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time

import httpcore
import pytest
from support.receivers import listening, receiving
from support.spellings import HOSTS, URLS

import webhooks.urls
from webhooks.addresses import is_public
from webhooks.errors import (
    BadAnswer,
    InvalidWebhookUrl,
    Refused,
    RefusedAddress,
    TimedOut,
    Unreachable,
    UnresolvedHost,
    WebhookError,
)
from webhooks.posting import PostOptions, post
from webhooks.signing import new_secret, signature, signed_headers
from webhooks.urls import read_url

PUBLIC = "93.184.215.14"
PRIVATE = PostOptions(allow_private=True)


@pytest.fixture
def connects(monkeypatch):
    """Record whom a connection is asked for; every connection goes to a loopback listener that counts."""
    asked = []
    with listening() as listener:
        connect = httpcore.SyncBackend.connect_tcp

        def to_us(self, host, port, timeout=None, local_address=None, socket_options=None):
            asked.append(host)
            return connect(self, "127.0.0.1", listener.port, timeout, local_address, socket_options)

        monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", to_us)
        listener.asked = asked
        yield listener


def spelled() -> list[str]:
    return [
        *(f"https://{host}:8443/" for host in HOSTS),
        *(url.replace("{loopback}", "127.0.0.1:8443") for url in URLS),
    ]


def test_no_spelling_of_a_closed_address_is_reached(connects):
    assert len(set(spelled())) >= 150
    for url in spelled():
        with pytest.raises(WebhookError) as raised:
            post(url, {}, b"{}", PostOptions())
        assert isinstance(raised.value, InvalidWebhookUrl | RefusedAddress | UnresolvedHost), (
            url,
            raised.value,
        )
    assert (connects.asked, connects.connections) == ([], 0)


def test_the_listener_would_have_noticed(connects):
    with pytest.raises(Unreachable):  # it speaks no TLS
        post("https://127.0.0.1:8443/", {}, b"{}", PRIVATE)
    assert (connects.asked, connects.connections) == (["127.0.0.1"], 1)


@pytest.mark.parametrize(
    "found", [["127.0.0.1"], [PUBLIC, "10.0.0.1"], ["::ffff:127.0.0.1"], ["fe80::1%eth0"], ["odd"]]
)
def test_a_name_with_one_closed_address_is_refused(connects, found):
    with pytest.raises(RefusedAddress, match=r"rebind\.example leads into a private network"):
        post("https://rebind.example/", {}, b"{}", PostOptions(), resolve=lambda host, port: found)
    assert connects.asked == []


def test_a_resolver_that_changes_its_mind_is_asked_once(connects):
    answers = iter([[PUBLIC], ["127.0.0.1"], ["127.0.0.1"]])
    with pytest.raises(Unreachable):  # the listener speaks no TLS
        post("https://rebind.example/", {}, b"{}", PostOptions(), resolve=lambda host, port: next(answers))
    assert connects.asked == [PUBLIC]
    assert list(answers) == [["127.0.0.1"], ["127.0.0.1"]]


def test_an_address_that_does_not_answer_leaves_the_next_one(monkeypatch):
    asked = []

    def refuse(self, host, *rest):
        asked.append(host)
        raise httpcore.ConnectError("refused")

    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", refuse)
    with pytest.raises(Unreachable, match="refused"):
        post("https://two.example/", {}, b"{}", PostOptions(), resolve=lambda *_: [PUBLIC, "2606:2800::1"])
    assert asked == [PUBLIC, "2606:2800::1"]


def test_a_resolver_that_fails_or_hangs_lets_nothing_through(connects):
    def fail(host, port):
        raise OSError("no such name")

    with pytest.raises(UnresolvedHost, match="no such name"):
        post("https://example.com/", {}, b"{}", PostOptions(), resolve=fail)
    with pytest.raises(UnresolvedHost):
        post("https://example.com/", {}, b"{}", PostOptions(), resolve=lambda *_: [])
    with pytest.raises(TimedOut):
        post(
            "https://example.com/",
            {},
            b"{}",
            PostOptions(connect_seconds=0.05),
            resolve=lambda *_: time.sleep(0.5) or [PUBLIC],
        )
    assert connects.asked == []


def test_a_redirect_is_not_followed():
    with listening() as metadata, receiving() as receiver:
        for where in (f"http://127.0.0.1:{metadata.port}/", "http://169.254.169.254/latest/meta-data/"):
            receiver.answer = lambda message, where=where: (302, {"Location": where}, b"")
            with pytest.raises(Refused, match="302: redirects are not followed") as raised:
                post(receiver.url, {}, b"{}", PRIVATE)
            assert raised.value.status_code == 302
    assert metadata.connections == 0


def test_a_message_arrives_as_it_was_signed():
    body, secret = b'{"type":"job.succeeded"}', new_secret()
    with receiving() as receiver:
        assert (
            post(f"{receiver.url}?a=b", signed_headers([secret], "m1", 1_700_000_000, body), body, PRIVATE)
            == 204
        )
    (message,) = receiver.messages
    assert (message.path, message.body) == ("/hook?a=b", body)
    assert message.headers["host"] == receiver.url.split("/")[2]
    assert verified(secret, message)


def verified(secret: str, message) -> bool:
    """Check a signature as a receiver does, by the words of the standard and none of our code."""
    key = base64.b64decode(secret[len("whsec_") :])
    signed = (
        f"{message.headers['webhook-id']}.{message.headers['webhook-timestamp']}.".encode() + message.body
    )
    good = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return good in message.headers["webhook-signature"].split(" ")


def test_a_signature_is_that_of_the_standard():
    # The example of the specification.
    secret, message_id, timestamp = (
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
    )
    assert (
        signature(secret, message_id, timestamp, b'{"test": 2432232314}')
        == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )
    assert signature(secret, message_id, timestamp, b'{"test": 2432232315}') != signature(
        secret, message_id, timestamp, b'{"test": 2432232314}'
    )


def test_two_live_secrets_sign_both():
    keys = [new_secret(), new_secret()]
    headers = signed_headers(keys, "m1", 1, b"{}")
    assert headers["webhook-signature"].split(" ") == [signature(key, "m1", 1, b"{}") for key in keys]


@pytest.mark.parametrize("status", [300, 307, 400, 404, 410, 429, 500, 503])
def test_every_other_status_is_a_refusal(status):
    with receiving() as receiver:
        receiver.answer = lambda message: (status, {}, b"")
        with pytest.raises(Refused, match=str(status)):
            post(receiver.url, {}, b"{}", PRIVATE)


def test_an_answer_that_trickles_ends_at_the_deadline():
    def trickle(connection):
        connection.recv(65_536)
        for byte in b"HTTP/1.1 200 OK\r\n" * 20:
            connection.sendall(bytes([byte]))
            time.sleep(0.05)

    began = time.monotonic()
    with listening(trickle) as listener, pytest.raises(TimedOut):
        post(
            f"http://127.0.0.1:{listener.port}/",
            {},
            b"{}",
            PostOptions(allow_private=True, total_seconds=0.4),
        )
    assert time.monotonic() - began < 3


def test_a_success_with_an_endless_body_is_a_success():
    def flood(connection):
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            connection.sendall(bytes(65_536))

    with listening(flood) as listener:
        assert post(f"http://127.0.0.1:{listener.port}/", {}, b"{}", PRIVATE) == 200


def test_what_is_no_http_is_a_bad_answer():
    def talk(connection):
        connection.recv(65_536)
        connection.sendall(b"220 mail.example ESMTP\r\n\r\n")

    with listening(talk) as listener, pytest.raises(BadAnswer):
        post(f"http://127.0.0.1:{listener.port}/", {}, b"{}", PRIVATE)


def test_nobody_there_is_unreachable():
    with listening() as listener:
        port = listener.port
    with pytest.raises(Unreachable):
        post(f"http://127.0.0.1:{port}/", {}, b"{}", PRIVATE)


def test_no_proxy_of_the_environment_sees_a_message(monkeypatch):
    with listening() as proxy, receiving() as receiver:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        post(receiver.url, {}, b"{}", PRIVATE)
    assert (proxy.connections, len(receiver.messages)) == (0, 1)


@pytest.mark.parametrize("text", [PUBLIC, "1.1.1.1", "8.8.8.8", "2606:2800:220:1::1", "2a00:1450:4001::1"])
def test_public_addresses_are_public(text):
    assert is_public(text)


@pytest.mark.parametrize(
    ("url", "host", "port", "path"),
    [
        ("https://example.com", "example.com", 443, "/"),
        ("https://Example.com:8443/a?b=c", "example.com", 8443, "/a?b=c"),
        (f"https://{PUBLIC}/", PUBLIC, 443, "/"),
        ("https://[2606:2800::1]/x", "2606:2800::1", 443, "/x"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", 443, "/"),
        ("https://a_b.example/?q", "a_b.example", 443, "/?q"),
    ],
)
def test_a_public_url_is_read(url, host, port, path):
    target = read_url(url, allow_private=False)
    assert (target.host, target.port, target.path) == (host, port, path)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://example.com/", "https://"),
        ("https://example.com:8080/", "port 8080"),
        ("https://me:pw@example.com/", "user or password"),
        ("https://example.com/#x", "fragment"),
        ("https://10.0.0.1/", "private network"),
        ("https://example.com/ü", "percent-encoded"),
        ("https://example.com:99999/", "no URL"),
        ("https://example.com/" + "a" * 2_048, "longer than"),
    ],
)
def test_a_refused_url_says_why(url, said):
    with pytest.raises(InvalidWebhookUrl, match=said):
        read_url(url, allow_private=False)


@pytest.mark.parametrize("url", ["http://localhost:9000/", "https://example.com:9000/", "https://127.0.0.1/"])
def test_who_tries_a_receiver_at_home_is_told_what_the_service_needs(url):
    with pytest.raises(InvalidWebhookUrl, match="EARWITNESS_WEBHOOK_ALLOW_PRIVATE=true"):
        read_url(url, allow_private=False)


def test_the_operator_may_allow_what_is_private():
    target = read_url("http://10.0.0.1:9000/hook", allow_private=True)
    assert (target.scheme, target.host_header) == ("http", "10.0.0.1:9000")
    with pytest.raises(InvalidWebhookUrl):
        read_url("http://me@10.0.0.1/", allow_private=True)
    assert webhooks.urls.PUBLIC_PORTS == (443, 8443)
