"""The files of a local model: a folder, a GGUF file, or a model of the Hugging Face hub; GGUF is converted once."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from models.errors import BadInput
from models.workers.local import reference
from models.workers.pool import Pool

GGUF = ".gguf"
WEIGHTS = "weights"
"""The folder of the home in which models are looked for by name. (`models` would hide our package of that name from
processes that are started in the home.)"""
CONVERTED = "converted"
"""The folder of the home with what was made of GGUF files."""


def named_file(model: str, home: Path) -> Path | None:
    """The folder or file that `local/…` names: an absolute path, or a name in the home's folder `weights`.

    `None` for a name of the hub. Raises BadInput for a path, or the name of a GGUF file, that does not exist.
    """
    name = reference(model)
    path = Path(name).expanduser()
    found = path if path.is_absolute() else home / WEIGHTS / name
    if found.is_dir() or (found.is_file() and found.suffix == GGUF):
        return found
    if found.is_file():
        raise BadInput(f"{model}: {found} is neither a folder nor a GGUF file", "model")
    on_hub = not path.is_absolute() and len(path.parts) == (3 if path.suffix == GGUF else 2)
    if not on_hub:
        raise BadInput(f"{model}: there is no {found}; README.md says how to get a model", "model")
    return None


def check_files(pool: Pool, home: Path) -> None:
    """Raises BadInput, naming the worker, for a local model whose files do not exist. Fetches nothing."""
    for worker in (*pool.workers, *pool.conductors):
        if worker.is_local:
            try:
                named_file(worker.model, home)
            except BadInput as error:
                raise BadInput(f"worker {worker.name!r}: {error}", "model") from None


def model_folder(model: str, home: Path) -> Path:
    """The folder with the model's safetensors and tokenizer. A hub model is fetched, a GGUF file converted, once.

    Raises BadInput where there is no such model, or a GGUF file cannot be read.
    """
    found = named_file(model, home) or _from_hub(reference(model))
    return _converted(found, home / CONVERTED) if found.is_file() else found


def _from_hub(name: str) -> Path:
    from models.fugu.forward.hub import local_folder

    if not name.endswith(GGUF):
        return local_folder(name)
    import httpx
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    repository, _, file = name.rpartition("/")
    try:
        return Path(hf_hub_download(repository, file))
    except (HfHubHTTPError, HFValidationError, OSError, httpx.HTTPError) as error:
        reason = str(error).partition("\n")[0]
        raise BadInput(f"the hub has no file {file} of {repository}: {reason}", "model") from None


def _converted(file: Path, cache: Path) -> Path:
    """The folder with the file's weights as float32 safetensors, made where the cache has none of this file."""
    file, found = file.resolve(), file.stat()
    sha = hashlib.sha256(f"{file} {found.st_size} {found.st_mtime_ns}".encode()).hexdigest()
    folder = cache / f"{file.stem}-{sha[:16]}"
    if folder.is_dir():
        return folder
    if importlib.util.find_spec("gguf") is None:
        command = "python -m pip install -c constraints.txt -e '.[gguf]'"
        raise BadInput(f"a GGUF file needs the package gguf: `{command}`", "model")
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=cache))
    try:
        _convert(file, partial)
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _convert(file: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source: dict[str, Any] = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    try:
        tokenizer = AutoTokenizer.from_pretrained(**source)
        dense = GgufConfig(dequantize=True)
        model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32, quantization_config=dense)
    except Exception as error:  # a broken file, or an architecture that is not known, fails in many ways
        reason = " ".join(str(error).split())[:300]
        raise BadInput(f"{file} cannot be read: {reason}", "model") from None
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
