"""The released TRINITY router: downloaded from its public addresses, verified, run on its 37 known cases, and adopted
over workers of a pool.

Its files are not part of this project; `data/catalog.yaml` holds their addresses, revisions and digests. For a
file without a digest there, the first fetch prints the sha256 and records it in `lock.json` beside the files;
later fetches check it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from filelock import FileLock

from models.errors import BadFile, BadInput, NotFound, UpstreamUnavailable
from models.files import read_yaml, staged

if TYPE_CHECKING:
    from models.fugu.router import Router

Report = Callable[[str], None]

HUB = "https://huggingface.co"
NAME = "trinity"
_TRIES = 3


@dataclass(frozen=True)
class Source:
    """A file `name` below the folder, its addresses in the order they are tried, its sha256 where known."""

    name: str
    urls: tuple[str, ...]
    sha256: str | None


@dataclass(frozen=True)
class Verification:
    """How many of the `cases` give the expected worker, role, and both; `others`: ids of the rest.

    `known`: how many workers and roles a faithful run gets right in float32 (the cases were made in bfloat16).
    """

    cases: int
    workers: int
    roles: int
    both: int
    others: tuple[str, ...]
    known: tuple[int, int]

    @property
    def faithful(self) -> bool:
        """Whether at least as many workers and roles are right as `known` says."""
        return self.workers >= self.known[0] and self.roles >= self.known[1]


def folder(home: Path) -> Path:
    """The folder of the downloaded files."""
    return home / NAME


def sources(catalog: Path) -> tuple[Source, ...]:
    """The catalog's files. Raises BadFile."""
    hub = os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
    try:
        files = _entry(catalog)["files"]
        return tuple(
            Source(name, tuple(_url(address, hub) for address in file["from"]), file.get("sha256"))
            for name, file in files.items()
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise BadFile(catalog, f"the entry {NAME!r} is incomplete ({error!r})") from None


def fetch(catalog: Path, home: Path, report: Report = print) -> Path:
    """Download the missing files and return their folder; an interrupted download is resumed.

    Raises NotFound if no address has a file, UpstreamUnavailable if a server fails, BadFile if a digest differs.
    """
    target = folder(home)
    target.mkdir(parents=True, exist_ok=True)
    with FileLock(target / ".lock"), httpx.Client(follow_redirects=True, timeout=60) as client:
        lock = _lock(target)
        for source in sources(catalog):
            path = target / source.name
            known = source.sha256 or lock.get(source.name)
            if not path.exists():
                _download(client, source, path, known, report)
            found = _check(path, known)
            if known is None:
                report(f"{source.name}: first fetch, sha256 {found}")
                lock[source.name] = found
                with staged(target / "lock.json") as file:
                    file.write(json.dumps(lock, indent=1) + "\n")
    return target


def missing(catalog: Path, home: Path) -> list[str]:
    """Names of the files that are not downloaded yet."""
    return [source.name for source in sources(catalog) if not (folder(home) / source.name).exists()]


def verify(catalog: Path, home: Path) -> Verification:
    """Run the known cases on the fetched files. Raises NotFound naming what is missing, BadFile."""
    return tried(router_of(catalog, home), catalog, home)


def agents(catalog: Path) -> tuple[str, ...]:
    """The models that the released router was evolved with, in the order of its rows."""
    return tuple(_entry(catalog)["workers"])


def router_of(catalog: Path, home: Path, workers: Sequence[str] = ()) -> Router:
    """The fetched router, which reads its own form. `workers`: the names of its rows, by default the catalog's.

    Raises NotFound naming what is missing, BadFile, BadInput for another number of workers.
    """
    from models.fugu.forward.backbone import Backbone
    from models.fugu.router import Router

    known, target = agents(catalog), folder(home)
    if len(names := tuple(workers) or known) != len(known):
        wanted = f"{len(known)} workers, for {', '.join(known)} in this order"
        raise BadInput(f"this router needs {wanted}; {len(names)} were given", "workers")
    if absent := missing(catalog, home):
        raise NotFound(f"not in {target}: {', '.join(absent)} (fetch {NAME} gets them)")
    lock = _lock(target)
    for source in sources(catalog):
        _check(target / source.name, source.sha256 or lock.get(source.name))
    backbone = Backbone.load(target / "backbone", cache=home / "factors")
    return Router.from_vector(backbone, target / "vector.npy", names, released=_dispatcher(catalog, target))


def tried(router: Router, catalog: Path, home: Path) -> Verification:
    """The known cases on this router."""
    cases, known = _cases(folder(home) / "cases.json"), _entry(catalog).get("known", {})
    decisions = router.decide_many([case["messages"] for case in cases])
    right = [
        (decision.worker_index == expected["agent_id"], decision.role == expected["role_id"])
        for decision, expected in zip(decisions, (case["expected"] for case in cases), strict=True)
    ]
    return Verification(
        cases=len(cases),
        workers=sum(worker for worker, _ in right),
        roles=sum(role for _, role in right),
        both=sum(all(pair) for pair in right),
        others=tuple(case["id"] for case, pair in zip(cases, right, strict=True) if not all(pair)),
        known=(known.get("workers", len(cases)), known.get("roles", len(cases))),
    )


def _dispatcher(catalog: Path, target: Path) -> str:
    """The system text of the case that the catalog names: the prompt that this router reads. Empty if it names none."""
    name, path = _entry(catalog).get("dispatcher"), target / "cases.json"
    if name is None:
        return ""
    for case in _cases(path):
        first = case["messages"][0] if case["id"] == name else {}
        if first.get("role") == "system" and isinstance(text := first.get("content"), str):
            return text
    raise BadFile(path, f"holds no case {name!r} with a system message, the router's dispatcher prompt")


def _entry(catalog: Path) -> Mapping[str, Any]:
    try:
        entry: Mapping[str, Any] = read_yaml(catalog).value[NAME]
    except (KeyError, TypeError) as error:
        raise BadFile(catalog, f"holds no entry {NAME!r} ({error})") from None
    return entry


def _url(address: Mapping[str, str], hub: str) -> str:
    return address["url"] if "url" in address else f"{hub}/{address['hub']}"


def _cases(path: Path) -> list[dict[str, Any]]:
    try:
        cases: list[dict[str, Any]] = json.loads(path.read_text())["cases"]
    except (ValueError, KeyError, TypeError) as error:
        raise BadFile(path, f"holds no cases ({error!r})") from None
    return cases


def _download(client: httpx.Client, source: Source, path: Path, known: str | None, report: Report) -> None:
    """Download from the first address that has the file, then move it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    for url in source.urls:
        report(f"{source.name}: {url}")
        if _get(client, url, part):
            try:
                _check(part, known)
            except BadFile:
                part.unlink()  # resuming from wrong bytes would fail again
                raise
            part.replace(path)
            return
    wanted = f", its sha256 is {known}" if known else ""
    raise NotFound(f"{source.name} is at none of {', '.join(source.urls)}; put it at {path} by hand{wanted}")


def _get(client: httpx.Client, url: str, part: Path) -> bool:
    """Complete `part` from `url`, resuming after broken connections. False if the address has no such file."""
    for last in (*[False] * (_TRIES - 1), True):
        try:
            return _get_once(client, url, part)
        except httpx.TransportError as error:
            if last:
                raise UpstreamUnavailable(f"{url}: {error}") from None
    return False


def _get_once(client: httpx.Client, url: str, part: Path) -> bool:
    start = part.stat().st_size if part.exists() else 0
    # Offsets in a compressed transfer would not be the file's.
    headers = {"accept-encoding": "identity"} | ({"range": f"bytes={start}-"} if start else {})
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return True  # the part is complete, or wrong: the digest check decides
        if response.status_code in (401, 403, 404):
            return False
        if response.is_error:
            raise UpstreamUnavailable(f"{url} answers {response.status_code}")
        with part.open("ab" if response.status_code == httpx.codes.PARTIAL_CONTENT else "wb") as file:
            for block in response.iter_bytes():  # written as received, so an interrupted download keeps its part
                file.write(block)
    return True


def _check(path: Path, known: str | None) -> str:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if known is not None and found != known:
        raise BadFile(path, f"its sha256 is {found}, not {known}; remove it to fetch it again")
    return found


def _lock(target: Path) -> dict[str, str]:
    path = target / "lock.json"
    if not path.exists():
        return {}
    try:
        lock: dict[str, str] = json.loads(path.read_text())
    except ValueError as error:
        raise BadFile(path, f"is not readable ({error}); remove it to record the digests again") from None
    return lock
