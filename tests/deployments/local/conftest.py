"""Tiny causal language models, made once, and the processes that serve them as `fugu worker serve` starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from models.workers.local import Note, find

TEMPLATE = "{% for message in messages %}[{{ message.role }}]{{ message.content }}{% endfor %}[assistant]"
CONTEXT = 200_000


def make_model(folder: Path, template: str | None) -> None:
    """A Llama of random weights that never ends by itself, with a byte-level BPE."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["[user]What is 17 + 25?[assistant]"], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    if template is not None:
        fast.chat_template = template
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(fast),
            hidden_size=16,
            intermediate_size=16,
            num_attention_heads=2,
            num_hidden_layers=1,
            max_position_embeddings=CONTEXT,
            bos_token_id=None,
            eos_token_id=None,
        )
        model = LlamaForCausalLM(config).float()
    model.save_pretrained(folder)
    fast.save_pretrained(folder)


@dataclass
class Serving:
    """A home whose models `own` (with a chat template) and `plain` are served, each with room for one request."""

    home: Path
    pool: Path
    process: subprocess.Popen[str]

    def note(self, name: str = "own") -> Note:
        note = find(self.home / "local", f"local/{name}")
        assert note is not None
        return note

    def client(self, name: str = "own") -> openai.AsyncOpenAI:
        note = self.note(name)
        return openai.AsyncOpenAI(base_url=note.url, api_key=note.key, max_retries=0)

    def fugu(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(fugu(*words), env=environment(self.home), capture_output=True, text=True, timeout=60)

    def log(self, name: str) -> str:
        (file,) = (self.home / "logs").glob(f"local-{name}-*.log")
        return file.read_text()


POOL = """
workers:
  - {name: one, model: local/own, limits: {max_output_tokens: 20}}
  - {name: two, model: local/plain, limits: {max_output_tokens: 20}}
  - {name: again, model: local/own, limits: {max_output_tokens: 5}}
"""


def environment(home: Path) -> dict[str, str]:
    return os.environ | {"FUGU_HOME": str(home), "OMP_NUM_THREADS": "1"}


def fugu(*words: str) -> list[str]:
    return [sys.executable, "-c", "from deployments.cli import main; main()", *words]


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    home = tmp_path_factory.mktemp("home")
    make_model(home / "weights" / "own", TEMPLATE)
    make_model(home / "weights" / "plain", None)
    pool = home / "pool.yaml"
    pool.write_text(POOL)
    command = fugu("worker", "serve", str(pool), "--queue", "0")
    process = subprocess.Popen(command, env=environment(home), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(2)]
        assert {line.split(" ")[0] for line in said} == {"local/own", "local/plain"}, said
        yield Serving(home, pool, process)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)


@pytest.fixture(name="make_model", scope="session")
def _make_model():
    """(folder, template) -> a tiny model in the folder; without a template its tokenizer has none."""
    return make_model
