#!/usr/bin/env python3
"""A webhook receiver: checks the signature, drops what it has seen, prints the message. Python 3.9 or newer, no packages.

    WEBHOOK_SECRET=whsec_… python3 receiver.py

The secret is the answer of GET /api/sessions/{id}/webhook. Optional: HOST (127.0.0.1), PORT (3000).
The signature is Standard Webhooks 1.0: HMAC-SHA256 over `{webhook-id}.{webhook-timestamp}.{body}`.
"""

import base64
import binascii
import hashlib
import hmac
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOLERANCE_S = 5 * 60
MOST_BYTES = 1024 * 1024
REMEMBERED = 100_000


def key_of(secret):
    """The key in a `whsec_…` secret; empty if it is none."""
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True) if secret.startswith("whsec_") else b""
    except binascii.Error:
        return b""


KEY = key_of(os.environ.get("WEBHOOK_SECRET", ""))

# Ids of deliveries that were dealt with, oldest first. Here they are forgotten at a restart; keep them in your
# database, under a unique key and in the same transaction as your own work, and every message counts exactly once.
SEEN = {}
SEEN_LOCK = threading.Lock()


def is_genuine(headers, body):
    """Whether these bytes were signed with our secret, and recently."""
    delivery, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not delivery or not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        return False
    if abs(time.time() - int(timestamp)) > TOLERANCE_S:
        return False
    signed = f"{delivery}.{timestamp}.".encode() + body
    expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest())
    # While a secret is being changed there are several signatures.
    for signature in headers.get("webhook-signature", "").split(" "):
        version, _, value = signature.partition(",")
        if version == "v1" and hmac.compare_digest(value.encode(), expected):
            return True
    return False


def handle(event):
    """Your own work. If it raises, the gateway tries again later."""
    message = event.get("message")
    if message is None:
        # What is no message says what it is: a test event (webhook.test), for instance.
        print(f"{event['session_id']}: {event['type']}", flush=True)
        return
    print(f"{event['session_id']}: {message['from']}: {message['message']}", flush=True)


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_POST(self):
        try:
            status = self.receive()
        except Exception as error:  # a fault of ours: the gateway is to try again
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            status = 500
        self.send_response(status)
        self.send_header("content-length", "0")
        if status not in (200, 401):
            # What was not read must not be taken for the next request.
            self.send_header("connection", "close")
        self.end_headers()

    def receive(self):
        length = self.headers.get("content-length", "0")
        if "transfer-encoding" in self.headers or not length.isdigit():
            return 411
        if int(length) > MOST_BYTES:
            return 413
        # The signature covers these bytes; JSON parsed and written again may differ.
        body = self.rfile.read(int(length))
        if not is_genuine(self.headers, body):
            return 401
        delivery = self.headers["webhook-id"]
        # One at a time, so that two tries of one delivery cannot both be the first.
        with SEEN_LOCK:
            if delivery not in SEEN:
                handle(json.loads(body))
                SEEN[delivery] = None
                if len(SEEN) > REMEMBERED:
                    del SEEN[next(iter(SEEN))]
        return 200

    def log_message(self, *_):
        """Requests are not logged: messages are nobody else's business."""


def main():
    if not KEY:
        sys.exit("set WEBHOOK_SECRET to the whsec_… that GET /api/sessions/{id}/webhook answers")
    address = (os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "3000")))
    server = ThreadingHTTPServer(address, Receiver)
    host, port = server.server_address[:2]
    print(f"listening on http://{host}:{port}/webhook", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
