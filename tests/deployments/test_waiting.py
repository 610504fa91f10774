"""`fugu up` waits for nothing without a bound: it ends with the reason and the log to read."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from rich.console import Console

from deployments import up
from deployments.services import Services
from models.errors import PermanentError
from tasks.setup.settings import settings

BODY = b'{"ready":false,"ledger":true,"champions":false,"workers":true}'


class NeverReady(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(503)
        self.send_header("content-length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *words) -> None:
        pass


@pytest.fixture
def start(tmp_path, monkeypatch):
    monkeypatch.setenv("FUGU_HOME", str(tmp_path))
    monkeypatch.setattr(up, "ENDPOINT_S", 0.3)
    monkeypatch.setattr(up, "PREFECT_S", 0.3)
    return up.Start(settings(), Console(quiet=True))


def test_an_endpoint_that_never_gets_ready_ends_with_its_own_words_and_its_log(start, tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), NeverReady)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    announcement = tmp_path / "endpoint.json"
    announcement.write_text(f'{{"url": "http://127.0.0.1:{server.server_port}"}}')
    with pytest.raises(PermanentError, match="after") as caught:
        start._wait_for_endpoint(Services(tmp_path), announcement)
    server.shutdown()
    assert f"503 {BODY.decode()}" in str(caught.value)
    assert str(tmp_path / "logs" / "endpoint.log") in str(caught.value)


def test_an_endpoint_that_never_announces_itself_ends_with_its_log(start, tmp_path):
    with pytest.raises(PermanentError, match=r"endpoint is not ready .*logs/endpoint\.log"):
        start._wait_for_endpoint(Services(tmp_path), tmp_path / "endpoint.json")


def test_a_prefect_server_that_never_answers_ends_with_its_log(start, tmp_path, monkeypatch):
    start.check_ports()
    monkeypatch.setattr(start, "_provision", lambda *words: None)
    with pytest.raises(PermanentError, match=r"prefect-server is not ready .*logs/prefect-server\.log"):
        start._start_pools(Services(tmp_path), {})
