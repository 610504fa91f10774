"""A backbone's model from its folder, what kind of model it is, and the digest of the folder."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import torch


def load_model(folder: Path, dtype: torch.dtype) -> Any:
    """The model without its output matrix. Raises ValueError where weights that are read are not in the files."""
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()  # the weights are there in a second, and every log would show the bar
    before = logging.get_verbosity()
    logging.set_verbosity_error()  # it warns of the output matrix, which is left out on purpose
    try:
        model, found = AutoModel.from_pretrained(folder, dtype=dtype, use_safetensors=True, output_loading_info=True)
    finally:
        logging.set_verbosity(before)
    missing = sorted(key for key in found["missing_keys"] if not key.startswith("pooler."))  # no pooler is read
    if missing:
        raise ValueError(f"the files hold no {', '.join(missing[:3])}")
    return model


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
