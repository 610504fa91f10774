"""Connections that send or read nothing in time end; the probes are answered whatever others do. Raw sockets."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import closing
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from deployments.endpoint.connections import Patience
from deployments.endpoint.wire.streaming import EventStream

ASK = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"


class App:
    """`/livez`, an endless stream, and a request that waits until it is released."""

    def __init__(self):
        self.ended, self.begun, self.released = threading.Event(), threading.Semaphore(0), threading.Event()
        paths = {"/livez": self.livez, "/stream": self.stream, "/wait": self.wait}
        self.app = Starlette(routes=[Route(path, answer) for path, answer in paths.items()])

    async def livez(self, request: Request):
        return PlainTextResponse("ok")

    async def wait(self, request: Request):
        self.begun.release()
        await asyncio.to_thread(self.released.wait, 20)
        return PlainTextResponse("ok")

    async def stream(self, request: Request):
        async def events():
            while True:
                yield b"x" * 65536
                await asyncio.sleep(0)  # others have their turn

        async def close():
            self.ended.set()

        return EventStream(events(), close, {})


def connect(url):
    parts = urlsplit(url)
    return closing(socket.create_connection((parts.hostname, parts.port), timeout=20))


def answer(connection):
    said = b""
    while not said.endswith(b"ok"):
        said += connection.recv(65536)
    return said


def ends(connection, trickle=b""):
    """Whether the server closes it, while a byte of `trickle` is sent again and again."""
    connection.settimeout(0.02)
    for _ in range(1000):
        try:
            if trickle:
                connection.send(trickle)
            if not connection.recv(65536):
                return True
        except TimeoutError:
            continue
        except ConnectionError:
            return True
    return False


@pytest.mark.parametrize(
    ("sent", "trickle"),
    [
        (b"", b""),  # nothing at all
        (ASK + b"X-Slow: ", b"x"),  # a head that never ends
        (b"\r\n", b"\r\n"),  # no head that ever begins
        (ASK + b"\r\n" + ASK, b"x"),  # a second one that never ends
        (ASK + b"Content-Length: 1000000\r\n\r\n", b"x"),  # a body that nobody waits for
    ],
)
def test_a_connection_that_sends_no_request_in_time_is_ended(serving, sent, trickle):
    with serving(App().app, Patience(head_s=0.3)) as url, connect(url) as connection:
        connection.sendall(sent)
        assert ends(connection, trickle)


def test_a_request_that_takes_longer_than_a_head_may_is_answered_and_so_is_the_next_one(serving):
    app = App()
    with serving(app.app, Patience(head_s=0.3)) as url, httpx.Client(base_url=url, timeout=20) as client:
        threading.Timer(0.6, app.released.set).start()
        assert client.get("/wait").text == client.get("/livez").text == "ok"


def test_a_client_that_does_not_read_its_stream_is_left_and_the_stream_is_closed(serving):
    app = App()
    with serving(app.app, Patience(read_s=0.3)) as url, connect(url) as connection:
        connection.sendall(ASK.replace(b"livez", b"stream") + b"\r\n")
        assert app.ended.wait(20)


def test_a_client_that_reads_slowly_but_reads_is_served(serving):
    app = App()
    with serving(app.app, Patience(read_s=1.0)) as url, connect(url) as connection:
        connection.sendall(ASK.replace(b"livez", b"stream") + b"\r\n")
        for _ in range(60):
            got = 0
            while got < 1 << 20:
                got += len(connection.recv(65536))
            app.ended.wait(0.02)
        assert not app.ended.is_set()


def test_the_longest_idle_connection_makes_room_for_a_new_one(serving):
    with serving(App().app, Patience(connections=3)) as url:
        first, *others = (socket.create_connection(tuple(urlsplit(url).netloc.split(":")), timeout=20) for _ in "abc")
        assert httpx.get(f"{url}/livez").text == "ok"
        assert ends(first)
        for each in others:
            each.sendall(ASK + b"\r\n")
            assert answer(each)
            each.close()


def test_where_all_connections_are_busy_only_probes_are_answered(serving):
    app = App()
    with serving(app.app, Patience(connections=2)) as url:
        with connect(url) as one, connect(url) as two:
            for each in (one, two):
                each.sendall(ASK.replace(b"livez", b"wait") + b"\r\n")
                assert app.begun.acquire(timeout=20)
            assert httpx.get(f"{url}/livez").text == "ok"
            refused = httpx.get(f"{url}/wait")
            assert refused.status_code == 503 and refused.headers["Retry-After"] == "1"
            app.released.set()
            assert answer(one) and answer(two)
        assert httpx.get(f"{url}/wait").text == "ok"
