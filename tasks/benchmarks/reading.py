"""The rows of a benchmark: of files fetched from the hub at one commit, or of a folder of the same form."""

from __future__ import annotations

import fnmatch
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from models.errors import BadFile, BadInput, UpstreamUnavailable
from tasks.benchmarks.catalogue import Benchmark, Pool

_KINDS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".csv": "csv"}
HUB = "https://huggingface.co"


def fetched(name: str, benchmark: Benchmark) -> tuple[str, dict[Pool, list[Path]]]:
    """The commit that was taken, and its files by split, downloaded into the hub's own cache.

    Raises BadInput for a set that is gated or does not exist, UpstreamUnavailable where the hub cannot be reached.
    """
    from huggingface_hub import HfApi, hf_hub_download

    try:
        info = HfApi().dataset_info(benchmark.hub, revision=benchmark.revision)
        commit = str(info.sha)
        there = [each.rfilename for each in info.siblings or ()]
        files: dict[Pool, list[Path]] = {}
        for split, patterns in benchmark.files.items():
            names = [each for pattern in patterns for each in sorted(fnmatch.filter(there, pattern))]
            if not names:
                raise BadInput(f"{name}: {benchmark.hub} has no file {patterns[0]!r} at commit {commit}", "files")
            files[split] = [
                Path(hf_hub_download(benchmark.hub, each, repo_type="dataset", revision=commit)) for each in names
            ]
        return commit, files
    except BadInput:
        raise
    except Exception as error:  # the hub's client raises many kinds, of several libraries
        _refuse(name, benchmark, error)


def _refuse(name: str, benchmark: Benchmark, error: Exception) -> NoReturn:
    kind, hub = {each.__name__ for each in type(error).__mro__}, os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
    page = f"{HUB}/datasets/{benchmark.hub}"
    if "GatedRepoError" in kind:
        line = f"{name} is gated: accept its terms at {page}, set HF_TOKEN to a token of yours, and fetch again"
        raise BadInput(line, "name") from error
    if "RevisionNotFoundError" in kind:
        raise BadInput(f"{name}: {page} has no revision {benchmark.revision}", "revision") from error
    if "RepositoryNotFoundError" in kind:
        raise BadInput(f"{name}: there is no {page}, or it is private", "hub") from error
    said = " ".join(str(error).split())[:160] or type(error).__name__
    raise UpstreamUnavailable(f"{name} cannot be fetched from {hub} ({said}); --from FOLDER reads its files") from error


def found(name: str, benchmark: Benchmark, folder: Path) -> dict[Pool, list[Path]]:
    """A folder's files by split: at the hub's own paths, else by the names alone, else by the split in a name.

    Raises BadFile where there is none.
    """
    files = [path for path in sorted(folder.rglob("*")) if path.suffix in _KINDS and path.is_file()]
    taken: dict[Pool, list[Path]] = {}
    for split, patterns in benchmark.files.items():
        chosen = [path for path in files if _matches(path.relative_to(folder).as_posix(), patterns)]
        chosen = chosen or [path for path in files if _matches(path.name, [PurePosixPath(p).name for p in patterns])]
        used = [path for paths in taken.values() for path in paths]
        if not chosen:
            chosen = [path for path in files if path not in used and (split == "all" or split in path.stem)]
        if chosen:
            taken[split] = chosen
    if not taken:
        wanted = ", ".join(pattern for patterns in benchmark.files.values() for pattern in patterns)
        raise BadFile(folder, f"no file of {name} ({wanted}; .parquet, .jsonl, .json or .csv)")
    return taken


def _matches(path: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


def rows(paths: Sequence[Path]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The rows of files, each with its file, through `datasets`. Raises BadFile for a file that cannot be read."""
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(logging.CRITICAL)  # what it logs is raised, too
    for path in paths:
        try:
            yield from ((path, row) for row in _stream(path))
        except BadFile:
            raise
        except Exception as error:  # of pyarrow, pandas, json and datasets
            said = " ".join(str(error).split())[:160] or type(error).__name__
            raise BadFile(path, f"cannot be read as {_KINDS[path.suffix]}: {said}") from error


def _stream(path: Path) -> Iterator[dict[str, Any]]:
    import datasets

    if path.stat().st_size == 0:
        raise BadFile(path, "is empty")
    made = datasets.load_dataset(_KINDS[path.suffix], data_files=[str(path)], split="train", streaming=True)
    yield from made
