"""A router as one file: a zip of safetensors and JSON, with a manifest of every member's sha256.

Nothing in it is run or unpickled. The package's digest is the manifest's, so that whoever knows it knows every byte.
A package comes from anywhere: it is read whole and checked before anything of it is used.
"""

from __future__ import annotations

import hashlib
import json
import stat
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from models.errors import BadFile, BadInput
from models.files import parse_json, staged

FORMAT = 1
MANIFEST, TENSORS, ROUTER = "manifest.json", "router.safetensors", "router.json"
POOL, PRESET, EVIDENCE = "pool.json", "preset.json", "evidence.json"

MAX_BYTES = {MANIFEST: 1 << 16, TENSORS: 1 << 28, ROUTER: 1 << 20, POOL: 1 << 20, PRESET: 1 << 16, EVIDENCE: 1 << 22}
"""The members of a package, each of which it has once, and the most bytes of each."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The date of every member, so that the same router gives the same file."""


@dataclass(frozen=True)
class Package:
    """A router and what belongs to it. `meta`: its checkpoint's. `pool`: the workers' entries of a pool's file, in the
    order of the router's rows. `preset`: its name and values. `evidence`: what the gate saw, by served model."""

    name: str
    vector: NDArray[np.float32]
    meta: dict[str, Any]
    pool: dict[str, Any]
    preset: dict[str, Any]
    evidence: dict[str, Any]


def write(path: Path, package: Package) -> str:
    """Write it to a file, atomically; returns its digest, `sha256:…`."""
    members = {
        TENSORS: save_tensors({"vector": np.ascontiguousarray(package.vector, dtype="<f4")}),
        ROUTER: _json({"name": package.name, "meta": package.meta}),
        POOL: _json(package.pool),
        PRESET: _json(package.preset),
        EVIDENCE: _json(package.evidence),
    }
    for name, content in members.items():
        if len(content) > MAX_BYTES[name]:
            raise BadInput(f"{name} of the package would have {len(content):,} bytes, more than {MAX_BYTES[name]:,}")
    listed = {name: {"sha256": _sha256(content), "bytes": len(content)} for name, content in members.items()}
    manifest = _json({"kind": "fugu-flows router", "format": FORMAT, "members": listed})
    with staged(path, "wb") as file, zipfile.ZipFile(file, "w") as archive:
        for name, content in {MANIFEST: manifest, **members}.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)
    return f"sha256:{_sha256(manifest)}"


def read(path: Path, digest: str | None = None) -> tuple[Package, str]:
    """The package in a file, and its digest. Raises BadFile, also where it is another one than `digest` names."""
    members = _members(path)
    found = f"sha256:{_sha256(members[MANIFEST])}"
    if digest is not None and digest.removeprefix("sha256:").lower() != found.removeprefix("sha256:"):
        raise BadFile(path, f"is another package than the one that was named: its digest is {found}")
    _verify(path, members)
    router, pool, preset, evidence = (_object(path, name, members[name]) for name in (ROUTER, POOL, PRESET, EVIDENCE))
    name, meta = router.get("name"), router.get("meta")
    if not isinstance(name, str) or not 1 <= len(name) <= 200 or not name.isprintable() or not isinstance(meta, dict):
        raise BadFile(path, f"{ROUTER} has to hold a printable name and meta, an object")
    return Package(name, _vector(path, members[TENSORS]), meta, pool, preset, evidence), found


def _members(path: Path) -> dict[str, bytes]:
    """All of the package's members, each within its limit. Raises BadFile."""
    try:
        if path.stat().st_size > sum(MAX_BYTES.values()) + (1 << 16):
            raise BadFile(path, "is larger than any package")
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            for info in infos:
                if (problem := _problem(info)) is not None:
                    raise BadFile(path, problem)
            names = [info.filename for info in infos]
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise BadFile(path, f"holds {twice} twice")
            if absent := [name for name in MAX_BYTES if name not in names]:
                raise BadFile(path, f"is no whole package: it lacks {', '.join(absent)}")
            return {info.filename: archive.read(info) for info in infos}
    except OSError as error:
        raise BadFile(path, f"cannot be read: {error.strerror or error}") from None
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError, UnicodeDecodeError) as error:
        if isinstance(error, BadFile):
            raise
        raise BadFile(path, "is no package, or was cut off or changed: it cannot be read as a zip") from None


def _problem(info: zipfile.ZipInfo) -> str | None:
    """Why this is no member of a package, or `None`. Decided from the directory: nothing of it has been read yet."""
    name = info.orig_filename
    if name.startswith(("/", "\\")) or ":" in name or ".." in PurePosixPath(name.replace("\\", "/")).parts:
        return f"holds {name!r}, a path that leads out of the package"
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):  # 0: the archiver did not say
        return f"holds {name!r}, which is a link or no plain file"
    if name not in MAX_BYTES:
        return f"holds {name!r}, which is no member of a package (those are {', '.join(MAX_BYTES)})"
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.compress_size != info.file_size:
        return f"holds {name} compressed or encrypted: a package's members are stored as they are"
    if info.file_size > MAX_BYTES[name]:
        return f"holds {name} of {info.file_size:,} bytes; the most is {MAX_BYTES[name]:,}"
    return None


def _verify(path: Path, members: Mapping[str, bytes]) -> None:
    """Raises BadFile unless the manifest is of a known format and names each other member with its digest."""
    manifest = _object(path, MANIFEST, members[MANIFEST])
    if manifest.get("format") != FORMAT:
        raise BadFile(path, f"has the format {manifest.get('format')!r:.40}; this version reads {FORMAT}")
    expected = {
        name: {"sha256": _sha256(content), "bytes": len(content)}
        for name, content in members.items()
        if name != MANIFEST
    }
    listed = manifest.get("members")
    if not isinstance(listed, dict) or listed.keys() != expected.keys():
        raise BadFile(path, f"{MANIFEST} does not name the members that are there")
    if changed := [name for name in expected if listed[name] != expected[name]]:
        raise BadFile(path, f"{changed[0]} is not what {MANIFEST} says: its sha256 or size differs")


def _vector(path: Path, content: bytes) -> NDArray[np.float32]:
    try:
        tensors = load_tensors(content)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError):
        raise BadFile(path, f"{TENSORS} is no safetensors file") from None
    vector = tensors.get("vector")
    if vector is None or len(tensors) != 1 or vector.dtype != np.float32 or vector.ndim != 1 or not vector.size:
        raise BadFile(path, f"{TENSORS} has to hold one flat tensor of float32, `vector`")
    if not np.isfinite(vector).all():
        raise BadFile(path, "its vector holds NaN or infinite numbers")
    return vector


def _object(path: Path, name: str, content: bytes) -> dict[str, Any]:
    try:
        value = parse_json(content.decode())
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise BadFile(path, f"{name} is no JSON that is taken here: {why}") from None
    if not isinstance(value, dict):
        raise BadFile(path, f"{name} has to be a JSON object")
    return value


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
