"""The location of a backbone's files: a folder, or a repository on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from models.errors import BadInput

PATTERNS = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
"""Configuration, weights, tokenizer and chat template; never pickled weights."""


def local_folder(path_or_name: str | Path, revision: str | None = None) -> Path:
    """The folder itself, or the hub's snapshot of `path_or_name`, downloaded if need be. Raises BadInput."""
    if Path(path_or_name).is_dir():
        return Path(path_or_name)
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(str(path_or_name), revision=revision, allow_patterns=list(PATTERNS)))
    except (HfHubHTTPError, HFValidationError, OSError, httpx.HTTPError) as error:
        reason = str(error).partition("\n")[0]
        raise BadInput(f"no folder and no hub model is called {path_or_name}: {reason}", "backbone") from None
