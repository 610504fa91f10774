"""Fetching and verifying the released router, against a hub of our own on loopback."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import yaml

from models.errors import BadFile, NotFound, UpstreamUnavailable
from models.fugu import released
from models.fugu.router import Router

WORKERS = [f"worker {i}" for i in range(7)]
BACKBONE = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
NAMES = [*(f"backbone/{name}" for name in BACKBONE), "vector.npy", "cases.json"]
QUESTIONS = ["What is 17 + 25?", "Prove it.", "Bonjour?", "", "Fix this bug: x = = 1", "1\n2\n3"]


@dataclass
class Hub:
    """Files by path; `asked`: (path, range) of every request; `cut`: path -> bytes after which it hangs up, once."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    cut: dict[str, list[int]] = field(default_factory=dict)
    ranges: bool = True
    status: int = 200


@pytest.fixture
def hub(monkeypatch) -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("range")
            hub.asked.append((self.path, asked))
            content = hub.files.get(self.path.removeprefix("/cdn"))
            if hub.status != 200:
                self._answer(hub.status, b"")
            elif content is None:
                self._answer(404, b"no such file")
            elif not self.path.startswith("/cdn"):  # the real hub redirects to another host
                self._answer(302, b"", location="/cdn" + self.path)
            elif asked and hub.ranges:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
                self._answer(416 if start >= len(content) else 206, content[start:])
            else:
                self._answer(200, content)

        def _answer(self, status: int, content: bytes, **headers: str) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            cuts = hub.cut.get(self.path.removeprefix("/cdn")) if content else None
            self.wfile.write(content[: cuts.pop(0)] if cuts else content)
            self.close_connection = True

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", hub.url + "/")
    yield hub
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def catalog(hub, backbones, random_vector, tmp_path) -> Path:
    """A catalog of a tiny released router that the hub holds; its last case expects another worker."""
    backbone = backbones("tied")
    vector = random_vector(backbone, "released", len(WORKERS) + 3)
    np.save(tmp_path / "v.npy", vector)
    conversations = [[{"role": "user", "content": question}] for question in QUESTIONS]
    cases = []
    for i, decision in enumerate(Router(backbone, vector, WORKERS).decide_many(conversations)):
        agent = (decision.worker_index + (i == 5)) % 7
        expected = {"agent_id": agent, "role_id": int(decision.role)}
        cases.append({"id": f"case {i}", "messages": conversations[i], "expected": expected})
    hub.files = {f"/tiny/resolve/r1/{name}": (backbone.folder / name).read_bytes() for name in BACKBONE}
    hub.files["/datasets/vectors/resolve/r2/b/v.npy"] = (tmp_path / "v.npy").read_bytes()
    hub.files["/cases.json"] = json.dumps({"cases": cases}).encode()
    files = {
        f"backbone/{name}": {
            "from": [{"hub": f"tiny/resolve/r1/{name}"}],
            "sha256": hashlib.sha256(hub.files[f"/tiny/resolve/r1/{name}"]).hexdigest(),
        }
        for name in BACKBONE
    }
    places = [{"hub": f"datasets/vectors/resolve/r2/{place}/v.npy"} for place in ("a", "b")]
    files |= {"vector.npy": {"from": places}, "cases.json": {"from": [{"url": hub.url + "/cases.json"}]}}
    path = tmp_path / "catalog.yaml"
    path.write_text(yaml.safe_dump({"trinity": {"workers": WORKERS, "files": files}}))
    return path


def parts(folder: Path) -> list[Path]:
    return list(folder.rglob("*.part"))


def test_what_is_fetched_is_verified_case_by_case(hub, catalog, tmp_path):
    lines: list[str] = []
    assert released.missing(catalog, tmp_path) == [f"backbone/{name}" for name in BACKBONE] + [
        "cases.json",
        "vector.npy",
    ]
    folder = released.fetch(catalog, tmp_path, lines.append)
    assert released.missing(catalog, tmp_path) == [] and parts(folder) == []
    assert released.verify(catalog, tmp_path) == released.Verification(6, 5, 6, 5, ("case 5",), (6, 6))
    assert any("vector.npy: first fetch, sha256" in line for line in lines)


def test_a_second_fetch_asks_for_nothing(hub, catalog, tmp_path):
    released.fetch(catalog, tmp_path, print)
    hub.asked.clear()
    released.fetch(catalog, tmp_path, print)
    assert hub.asked == []


def test_the_second_address_is_asked_where_the_first_has_nothing(hub, catalog, tmp_path):
    released.fetch(catalog, tmp_path, print)
    asked = [path for path, _ in hub.asked if path.endswith("v.npy") and not path.startswith("/cdn")]
    assert asked == ["/datasets/vectors/resolve/r2/a/v.npy", "/datasets/vectors/resolve/r2/b/v.npy"]


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
def test_a_broken_transfer_goes_on_where_it_stopped(hub, catalog, tmp_path, ranges):
    path, hub.ranges = "/tiny/resolve/r1/model.safetensors", ranges
    hub.cut[path] = [1000, 500]
    folder = released.fetch(catalog, tmp_path, print)
    assert (folder / "backbone/model.safetensors").read_bytes() == hub.files[path]
    asked = [span for seen, span in hub.asked if seen == "/cdn" + path]
    assert asked == [None, "bytes=1000-", "bytes=1500-" if ranges else "bytes=500-"]


def test_an_interrupted_fetch_is_taken_up_by_the_next(hub, catalog, tmp_path):
    path = "/tiny/resolve/r1/model.safetensors"
    hub.cut[path] = [700, 1, 1]
    with pytest.raises(UpstreamUnavailable):
        released.fetch(catalog, tmp_path, print)
    assert "backbone/model.safetensors" in released.missing(catalog, tmp_path)
    folder = released.fetch(catalog, tmp_path, print)
    assert hub.asked[-1][0] != path and ("/cdn" + path, "bytes=702-") in hub.asked
    assert (folder / "backbone/model.safetensors").read_bytes() == hub.files[path]


def test_a_part_that_was_complete_is_put_in_place(hub, catalog, tmp_path):
    content = hub.files["/cases.json"]
    (tmp_path / "trinity").mkdir()
    (tmp_path / "trinity/.cases.json.part").write_bytes(content)
    folder = released.fetch(catalog, tmp_path, print)
    assert (folder / "cases.json").read_bytes() == content


def test_other_bytes_than_the_known_ones_are_never_kept(hub, catalog, tmp_path):
    hub.files["/tiny/resolve/r1/config.json"] += b" "
    with pytest.raises(BadFile, match="sha256"):
        released.fetch(catalog, tmp_path, print)
    assert not (tmp_path / "trinity/backbone/config.json").exists() and parts(tmp_path) == []


def test_a_recorded_digest_is_checked_afterwards(hub, catalog, tmp_path):
    folder = released.fetch(catalog, tmp_path, print)
    assert set(json.loads((folder / "lock.json").read_text())) == {"vector.npy", "cases.json"}
    np.save(folder / "vector.npy", np.zeros(3, np.float32))
    for act in (lambda: released.fetch(catalog, tmp_path, print), lambda: released.verify(catalog, tmp_path)):
        with pytest.raises(BadFile, match=r"vector\.npy.*sha256"):
            act()
    (folder / "vector.npy").unlink()
    released.fetch(catalog, tmp_path, print)
    hub.files["/datasets/vectors/resolve/r2/b/v.npy"] += b"!"
    (folder / "vector.npy").unlink()
    with pytest.raises(BadFile, match="sha256"):
        released.fetch(catalog, tmp_path, print)


def test_a_file_that_is_nowhere_may_be_put_there_by_hand(hub, catalog, tmp_path):
    content = hub.files.pop("/datasets/vectors/resolve/r2/b/v.npy")
    with pytest.raises(NotFound, match=r"vector\.npy .*by hand"):
        released.fetch(catalog, tmp_path, print)
    with pytest.raises(NotFound, match=r"vector\.npy"):
        released.verify(catalog, tmp_path)
    (tmp_path / "trinity/vector.npy").write_bytes(content)
    released.fetch(catalog, tmp_path, print)
    assert released.verify(catalog, tmp_path).cases == 6


def test_a_hub_that_fails_or_is_away_is_unavailable(hub, catalog, closed_port, tmp_path, monkeypatch):
    hub.status = 503
    with pytest.raises(UpstreamUnavailable, match="503"):
        released.fetch(catalog, tmp_path, print)
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed_port}")
    with pytest.raises(UpstreamUnavailable):
        released.fetch(catalog, tmp_path, print)


@pytest.mark.parametrize("text", ["", "trinity: 3", "trinity: {files: {a: {}}}", "{", "other: {}"])
def test_a_catalog_without_the_entry_is_named(tmp_path, text):
    (tmp_path / "catalog.yaml").write_text(text)
    for path in (tmp_path / "catalog.yaml", tmp_path / "none.yaml"):
        with pytest.raises(BadFile, match=r"\.yaml"):
            released.sources(path)


def test_our_catalog_pins_every_revision_and_digest(monkeypatch):
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    catalog = Path(__file__).parents[2] / "data" / "catalog.yaml"
    sources = released.sources(catalog)
    assert {source.name for source in sources} == {f"backbone/{name}" for name in BACKBONE} | {
        "vector.npy",
        "cases.json",
    }
    for source in sources:
        assert source.sha256 is not None and len(source.sha256) == 64 and source.urls
        assert all(url.startswith("https://") and "/main/" not in url for url in source.urls)
    assert len(yaml.safe_load(catalog.read_text())["trinity"]["workers"]) == 7
