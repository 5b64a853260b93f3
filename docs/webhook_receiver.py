"""Receive Earwitness's webhooks: check the signature, drop what came twice, answer quickly. Standard library only.

WEBHOOK_SECRET=whsec_... python webhook_receiver.py 9000
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import sys
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOLERANCE_SECONDS = 300  # older messages may be replays


def is_genuine(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    """Say whether the sender knows the secret, by the signatures of Standard Webhooks."""
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    expected = "v1," + base64.b64encode(digest).decode()
    # While the secret is rotated there are two signatures: one that fits is enough.
    given = headers.get("webhook-signature", "").split(" ")
    return any(hmac.compare_digest(expected.encode(), one.encode()) for one in given)


class Receiver(BaseHTTPRequestHandler):
    """Print each genuine message once."""

    seen: set[str] = set()  # noqa: RUF012  # yours is a table with a unique column

    def do_POST(self) -> None:
        """Take one message: any 2xx says that it has arrived, all else that it should come again."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not is_genuine(os.environ["WEBHOOK_SECRET"], self.headers, body, time.time()):
            self.send_error(401)
            return
        if self.headers["webhook-id"] not in self.seen:
            self.seen.add(self.headers["webhook-id"])
            message = json.loads(body)
            print(
                message["type"], message["data"]["job"]["id"], message["data"]["job"]["tracking"], flush=True
            )
        self.send_response(204)
        self.end_headers()


if __name__ == "__main__":
    ThreadingHTTPServer(("", int(sys.argv[1])), Receiver).serve_forever()
