"""Load a backbone's model from its folder; its kind, its width, and the folder's digest."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError

from models.errors import BadInput


def factor_cache() -> Path:
    """The default folder of factorisations: the user's cache (XDG_CACHE_HOME, ~/.cache)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fugu-flows" / "factors"


def load_model(folder: Path, dtype: torch.dtype) -> Any:
    """The model without its output matrix.

    Raises ValueError if the files are broken, or hold matrices of wrong shapes or too few of them.
    """
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()  # loading takes a second, and every log would show the bar
    before = logging.get_verbosity()
    logging.set_verbosity_error()  # it warns that the output matrix is missing, which is intended
    try:
        model, found = AutoModel.from_pretrained(folder, dtype=dtype, use_safetensors=True, output_loading_info=True)
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(" ".join(str(error).split())) from None
    finally:
        logging.set_verbosity(before)
    missing = sorted(key for key in found["missing_keys"] if not key.startswith("pooler."))  # no pooler is read
    if missing:
        raise ValueError(f"the files hold no {', '.join(missing[:3])}")
    return model


def text_config(config: Any) -> Any:
    """The configuration of the language model, also of a model that reads images or sound besides text.

    Raises BadInput if it has several language models.
    """
    try:
        return config.get_text_config()
    except ValueError as error:
        raise BadInput(f"{config.model_type} has no single language model: {error}", "backbone") from None


def width_of(model: Any) -> int:
    """The width of the output states, measured on one token: some models project them (OPT-350m).

    Raises BadInput for a model that takes no plain text.
    """
    try:
        with torch.no_grad():
            ids = torch.zeros(1, 1, dtype=torch.long, device=model.device)
            width: int = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.shape[-1]
    except Exception as error:  # models for other inputs fail in many ways
        reason = " ".join(str(error).split())[:300]
        raise BadInput(f"{model.config.model_type} reads no plain text: {reason}", "backbone") from None
    return width


def kind_of(config: Any) -> Literal["causal", "encoder"]:
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    architecture = (config.architectures or [""])[0]
    causal = architecture.endswith(("ForCausalLM", "LMHeadModel"))
    return "encoder" if config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not causal else "causal"


def digest_of(folder: Path) -> str:
    """sha256 (hex) over the names and bytes of the folder's configuration, weights and tokenizer."""
    sha = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".json", ".safetensors", ".txt", ".model") and path.name != "generation_config.json":
            with path.open("rb") as file:
                sha.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return sha.hexdigest()
