"""Heads of requests that do not come to an end."""

from __future__ import annotations

import contextlib
import socket
import time
from dataclasses import replace

import httpx2
import pytest
from small_index import serving

from vpmsearch.web.settings import ServeSettings

SETTINGS = ServeSettings(port=0, header_seconds=0.3)


def connected(address: str, *parts: bytes) -> socket.socket:
    host, port = address.removeprefix("http://").split(":")
    made = socket.create_connection((host, int(port)), timeout=30)
    for part in parts:
        made.sendall(part)
    return made


def until(made: socket.socket, mark: bytes) -> bytes:
    said = b""
    while mark not in said:
        said += made.recv(65536)
    return said


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ([b"GET /api/health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "], b"HTTP/1.1 408 "),
        ([b"GET /api/he"], b"HTTP/1.1 408 "),
        ([], b""),
    ],
    ids=["half a head", "half a line", "nothing"],
)
def test_a_head_that_does_not_end_is_given_up(service, parts, told):
    with serving(service, SETTINGS) as address, contextlib.closing(connected(address, *parts)) as made:
        said = b""
        while part := made.recv(4096):
            said += part
        assert said.startswith(told)
        assert bool(said) == bool(told)


def test_a_head_that_drips_is_given_up_all_the_same(service):
    gone = contextlib.suppress(BrokenPipeError, ConnectionResetError)
    with serving(service, SETTINGS) as address, contextlib.closing(connected(address)) as made, gone:
        for _ in range(600):
            made.sendall(b"G")
            time.sleep(0.05)
        raise AssertionError("it listens for ever")


def test_a_second_request_of_a_connection_has_as_long_and_a_body_longer(service):
    head = b"POST /api/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    health = b"GET /api/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with serving(service, SETTINGS) as address, contextlib.closing(connected(address, health)) as made:
        assert until(made, b'"problem"').startswith(b"HTTP/1.1 200 ")
        made.sendall(head + b"Content-Length: 10\r\n\r\n")
        time.sleep(0.6)  # a body has `body_seconds`
        made.sendall(b"image_id=1")
        assert until(made, b'"matches"').startswith(b"HTTP/1.1 200 ")
        time.sleep(0.6)  # idle between two requests it is no half head
        made.sendall(health[:20])
        said = b""
        while part := made.recv(65536):
            said += part
        assert b"HTTP/1.1 408 " in said


def test_half_heads_keep_nobody_out(service):
    """As many as there are places, for longer than the test takes."""
    settings = replace(SETTINGS, header_seconds=60.0, max_waiting=4)
    with serving(service, settings) as address, contextlib.ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(contextlib.closing(connected(address, b"GET / HTTP/1.1\r\n")))
        for _ in range(3):
            assert httpx2.get(f"{address}/api/health", timeout=30).status_code == 200
