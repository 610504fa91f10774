"""Who passes a port's door: raw requests to a real server, since no client library would send most of them."""

from __future__ import annotations

import asyncio
import json
import socket
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.doors import Allowed, Doors, Host, Origin, allowed
from models.errors import BadInput
from tasks.setup.settings import Settings

MAY = allowed(
    Settings(hosts="ours.example, proxied.example:8443, fd00::7", origins="https://chat.example,http://127.0.0.1:3000")
)
BROWSER = "Sec-Fetch-Site: {}\r\nSec-Fetch-Mode: {}\r\nSec-Fetch-Dest: {}\r\n"

UPGRADE = f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {'A' * 22}==\r\n"


class Inside:
    """The application behind the door: counts what reaches it."""

    def __init__(self):
        self.reached = 0

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            return
        self.reached += 1
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-fugu-turns", b"1")]})
        await send({"type": "http.response.body", "body": b"inside"})


@pytest.fixture(scope="module")
def port(serving):
    """`ask(...)` sends a request as it is written; gives status and head, and whether it came in."""
    inside = Inside()
    with serving(Doors(inside, MAY), websockets=True) as url:
        number = int(url.rpartition(":")[2])

        def ask(headers="", *, method="GET", target="/", version="1.1", websocket=False):
            before = inside.reached
            if websocket:
                headers += (
                    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + "A" * 22 + "==\r\n"
                )
            headers += "Connection: Upgrade\r\n" if websocket else "Connection: close\r\n"
            request = f"{method} {target} HTTP/{version}\r\n{headers}\r\n".replace("PORT", str(number))
            with socket.create_connection(("127.0.0.1", number), timeout=10) as connection:
                connection.sendall(request.encode("latin-1"))
                head = b""
                while b"\r\n\r\n" not in head and (received := connection.recv(65536)):
                    head += received
            head = head.decode("latin-1").partition("\r\n\r\n")[0]
            return SimpleNamespace(status=int(head.split()[1]), head=head, came_in=inside.reached > before)

        yield ask


OWN = ("127.0.0.1:PORT", "localhost:PORT", "LocalHost:PORT", "[::1]:PORT", "[0:0:0:0:0:0:0:1]:PORT", "127.0.0.1")
MORE = ("ours.example", "ours.example:1234", "proxied.example:8443", "[fd00::7]:8000")
STRANGE = (
    "", "evil.example", "evil.example:PORT", "127.0.0.1.evil.example:PORT", "evil.example@127.0.0.1:PORT",
    "127.0.0.1@evil.example", "127.0.0.1:abc", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:1", "127.0.0.1:PORT0",
    "127.0.0.1:99999", "127.0.0.1:-1", "127.0.0.1:+PORT", "127.0.0.1:PORT:PORT", "127.0.0.1 :PORT", "127.0.0.1, evil",
    "127.0.0.1.:PORT", "localhost.", ".localhost", "::1", "[::1", "::1]", "[::1]PORT", "[::1]:x", "[]", "[:::]",
    "[::ffff:127.0.0.1]:PORT", "[::1%lo]:PORT", "127.1", "0x7f000001", "2130706433", "127.0.0.2:PORT", "0.0.0.0:PORT",
    "http://127.0.0.1:PORT", "127.0.0.1/x", "127.0.0.1?x", "127.0.0.1#x", "\xff", "loc\xe1lhost", "proxied.example",
    "proxied.example:1", "x.ours.example", "*", "127.0.0.1:\xb2",
)  # fmt: skip


@pytest.mark.parametrize("websocket", [False, True])
@pytest.mark.parametrize("host", [*OWN, *MORE])
def test_a_host_of_its_own_passes(port, host, websocket):
    answer = port(f"Host: {host}\r\n", websocket=websocket)
    assert answer.status == (101 if websocket else 200) and answer.came_in


@pytest.mark.parametrize("websocket", [False, True])
@pytest.mark.parametrize("host", STRANGE)
def test_any_other_host_is_refused(port, host, websocket):
    answer = port(f"Host: {host}\r\n", websocket=websocket)
    assert answer.status in (400, 403) and not answer.came_in  # 400: the server itself found it malformed


def test_no_host_two_hosts_and_another_host_in_the_target_are_refused(port):
    own = "Host: 127.0.0.1:PORT\r\n"
    assert port("", version="1.0").status == 403
    for headers in ("", own + own, own + "Host: evil.example\r\n"):
        for websocket in (False, True):
            answer = port(headers, websocket=websocket)
            assert answer.status in (400, 403) and not answer.came_in
    for target in ("http://evil.example/", "http://127.0.0.1:PORT/", "evil.example:80", "*"):
        answer = port(own, target=target, method="OPTIONS" if target == "*" else "GET")
        assert answer.status in (400, 403) and not answer.came_in


PAGES = (
    "null", "", "http://evil.example", "https://127.0.0.1:PORT", "http://127.0.0.1", "http://127.0.0.1:1",
    "http://localhost:PORT", "http://127.0.0.1:PORT/", "http://127.0.0.1:PORT/x", "http://x@127.0.0.1:PORT",
    "http://127.0.0.1:PORT http://127.0.0.1:PORT", "http://127.0.0.1.evil.example:PORT", "file://", "127.0.0.1:PORT",
    "chrome-extension://abcdef", "https://chat.example.evil", "http://chat.example", "https://chat.example:444", "*",
    "ws://127.0.0.1:PORT", "HTTP://127.0.0.1:PORT",
)  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "websocket"])
def test_no_foreign_page_gets_in_whatever_it_sends(port, method):
    websocket = method == "websocket"
    for page in PAGES:
        answer = port(
            f"Host: 127.0.0.1:PORT\r\nOrigin: {page}\r\nAccess-Control-Request-Method: POST\r\n",
            method="GET" if websocket else method,
            websocket=websocket,
        )
        assert answer.status == 403 and not answer.came_in, page
        assert "access-control" not in answer.head.lower(), page


@pytest.mark.parametrize("websocket", [False, True])
def test_its_own_page_gets_in_and_is_told_once_where_it_comes_from(port, websocket):
    host, origin = "Host: 127.0.0.1:PORT\r\n", "Origin: http://127.0.0.1:PORT\r\n"
    assert port(host + origin, websocket=websocket).came_in
    assert port(host.replace("127.0.0.1", "[::1]") + "Origin: http://[::1]:PORT\r\n", websocket=websocket).came_in
    assert port("Host: proxied.example:8443\r\nOrigin: http://proxied.example:8443\r\n", websocket=websocket).came_in
    assert not port(host + origin + origin, websocket=websocket).came_in
    assert not port(host + origin + "Origin: null\r\n", websocket=websocket).came_in


@pytest.mark.parametrize(
    ("how", "passes"),
    [
        (("same-origin", "cors", "empty"), True),
        (("none", "navigate", "document"), True),
        (("cross-site", "navigate", "document"), True),  # a link that somebody follows
        (("cross-site", "navigate", "iframe"), False),
        (("cross-site", "no-cors", "image"), False),
        (("same-site", "no-cors", "empty"), False),  # another port of this machine
        (("same-site", "websocket", "websocket"), False),
        (("strange", "cors", "empty"), False),
    ],
)
def test_without_an_origin_the_browser_says_who_asks(port, how, passes):
    host = "Host: 127.0.0.1:PORT\r\n"
    assert port(host + BROWSER.format(*how)).came_in is passes
    if how[0] in ("cross-site", "same-site"):
        assert not port(host + BROWSER.format(*how), method="POST").came_in
        assert not port(host + BROWSER.format(*how), websocket=True).came_in


@pytest.mark.parametrize("origin", ["https://chat.example", "http://127.0.0.1:3000"])
def test_an_allowed_origin_is_answered_by_name_never_by_a_star(port, origin):
    own = f"Host: 127.0.0.1:PORT\r\nOrigin: {origin}\r\n" + BROWSER.format("cross-site", "cors", "empty")
    wanted = "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization,content-type\r\n"
    before = port(own + wanted, method="OPTIONS")
    assert before.status == 200 and not before.came_in
    after = port(own, method="POST")
    assert after.status == 200 and after.came_in
    assert port(own, websocket=True).came_in
    for head in (before.head.lower(), after.head.lower()):
        assert f"access-control-allow-origin: {origin}\r\n" in head + "\r\n"
        assert "vary: origin" in head and "*" not in head and "allow-credentials" not in head
    assert "authorization,content-type" in before.head and "POST" in before.head
    assert "X-Fugu-Turns" in after.head


SCOPE = {"type": "http", "method": "GET", "path": "/", "scheme": "http", "server": ("127.0.0.1", 8000)}


def _passes(*headers: tuple[bytes, bytes]) -> bool:
    inside, sent = Inside(), []

    async def send(message):
        sent.append(message)

    scope = {**SCOPE, "headers": list(headers)}
    asyncio.run(Doors(inside, Allowed())(scope, lambda: asyncio.sleep(0), send))
    assert sent[0]["status"] == (200 if inside.reached else 403)
    return bool(inside.reached)


RIGHT = [f"{name}{port}" for name in ("127.0.0.1", "localhost", "[::1]") for port in ("", ":8000")]
PIECES = st.lists(st.sampled_from([*RIGHT, *"[]:.@/%#0189a\\ \t", "::1", "evil", "http://"]) | st.text(max_size=2))


@given(PIECES.map("".join))
def test_nothing_but_its_own_names_passes(text):
    header = text.encode("utf-8")
    lowered = header.decode("latin-1").lower()
    assert _passes((b"host", header)) == (lowered in RIGHT)


@given(PIECES.map("".join))
def test_nothing_but_its_own_origin_passes(text):
    origin = text.encode("utf-8")
    passes = _passes((b"host", b"localhost:8000"), (b"origin", origin))
    assert passes == (origin.lower() == b"http://localhost:8000" and origin[:4] == b"http")


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        *(("hosts", text) for text in ("*", "http://a", "a/b", "a b", "a:0", "a:x", "user@a", '["a"]', "a,,b,-")),
        *(("origins", text) for text in ("*", "null", "a.example", "https://a/", "ftp://a", "https://*.a", "https://")),
    ],
)
def test_a_setting_that_names_nothing_is_one_line_with_its_variable(setting, text):
    with pytest.raises(BadInput, match=f"^FUGU_{setting.upper()}: ") as found:
        allowed(Settings(**{setting: text}))
    assert "\n" not in str(found.value)


def test_settings_are_lists_with_commas_and_browsers_spelling_does_not_matter():
    may = allowed(Settings(hosts=" A.example , b:1,[::1]:2,::2 ", origins="https://a.example:443,http://[::2]:80"))
    assert may.hosts == {Host("a.example"), Host("b", 1), Host("::1", 2), Host("::2")}
    assert {str(origin) for origin in may.origins} == {"https://a.example", "http://[::2]"}
    assert allowed(Settings()) == Allowed()
    assert Origin.read("null") is None


def test_the_refusal_says_which_setting_lets_it_in(port):
    async def body(headers):
        sent = []

        async def send(message):
            sent.append(message)

        await Doors(Inside())({**SCOPE, "headers": headers}, lambda: asyncio.sleep(0), send)
        return json.loads(sent[1]["body"])["error"]["message"]

    assert "FUGU_HOSTS" in asyncio.run(body([]))
    assert "FUGU_ORIGINS" in asyncio.run(body([(b"host", b"localhost"), (b"origin", b"null")]))
