"""The house backbone: a small Qwen3 with a byte-level BPE of its own, pretrained briefly on unlabelled house text.

It is made on first use and kept under its recipe's digest: a minute of next-token prediction on `text.corpus`, after
which its states separate what is asked (data/EXPERIMENTS.md, section 3). The pretraining sees neither scores nor
worker names.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from models.house import text

log = logging.getLogger(__name__)

REVISION = 1
"""Part of every recipe's digest: change the procedure, change the number."""


@dataclass(frozen=True)
class Recipe:
    """`lines` of corpus are seen once, in batches of `batch`, each cut to `length` tokens; tied embeddings."""

    layers: int = 4
    width: int = 256
    heads: int = 4
    key_value_heads: int = 2
    inner: int = 512
    vocabulary: int = 2048
    lines: int = 4_000
    batch: int = 16
    length: int = 64
    learning_rate: float = 2e-3
    seed: int = 42

    @property
    def digest(self) -> str:
        """sha256 (hex, 16 characters) of the recipe and of the corpus's revision."""
        content = json.dumps([REVISION, text.REVISION, asdict(self)], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


DEFAULT = Recipe()
TINY = Recipe(layers=4, width=64, heads=2, key_value_heads=1, inner=128, vocabulary=1024, lines=3_000)
"""For tests: made in seconds."""


def make(home: Path, recipe: Recipe = DEFAULT, report: Callable[[float], None] | None = None) -> Path:
    """The folder of the backbone under `home/backbones`, made now if it is not there.

    Several processes may call at once: one makes it, the others wait. `report` gets the finished fraction, of
    one's own work or of the other's.
    """
    report = report or (lambda fraction: None)
    folder = home / "backbones" / f"house-{recipe.digest}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    done = folder.with_name(f"{folder.name}.done")
    with _locked(folder, lambda: report(_fraction(done))):
        if not folder.exists():

            def reached(fraction: float) -> None:
                done.write_text(f"{fraction:.3f}")
                report(fraction)

            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as partial:
                _make(Path(partial) / "backbone", recipe, reached)
                # A rename is the last thing that happens, so a folder that is there is complete.
                (Path(partial) / "backbone").rename(folder)
            done.unlink()
    return folder


@contextmanager
def _locked(folder: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the folder's lock; `waiting` is called every second until then."""
    lock = FileLock(f"{folder}.lock", timeout=1.0)
    while True:
        try:
            lock.acquire()
            break
        except Timeout:
            waiting()
    try:
        yield
    finally:
        lock.release()


def _fraction(path: Path) -> float:
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return 0.0


def _make(folder: Path, recipe: Recipe, report: Callable[[float], None]) -> None:
    lines = text.corpus(recipe.seed, recipe.lines)
    tokenizer = _train_tokenizer(lines, recipe.vocabulary)
    # The caller's own random state stays as it was: a flow's other draws must not depend on the cache.
    with torch.random.fork_rng(), _one_thread():
        torch.manual_seed(recipe.seed)
        model = Qwen3ForCausalLM(_config(recipe))
        _pretrain(model, tokenizer, lines, recipe, report)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1) + "\n")


@contextmanager
def _one_thread() -> Iterator[None]:
    """At this size a second thread gains nothing (measured), and labelling runs beside it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _config(recipe: Recipe) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=recipe.vocabulary,
        hidden_size=recipe.width,
        intermediate_size=recipe.inner,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.key_value_heads,
        head_dim=recipe.width // recipe.heads,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
    )


def _train_tokenizer(lines: list[str], vocabulary: int) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        # Single digits, as in Qwen: numbers of different length then look different.
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|endoftext|>")


def _pretrain(
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    lines: list[str],
    recipe: Recipe,
    report: Callable[[float], None],
) -> None:
    """Next-token prediction, AdamW with warm-up and a linear decay; one pass."""
    steps = max(1, len(lines) // recipe.batch)
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / (0.05 * steps + 1), 1.0 - step / (steps + 1))
    )
    model.train()
    for step, (tokens, mask) in enumerate(_batches(tokenizer, lines, recipe)):
        labels = tokens.masked_fill(mask == 0, -100)
        loss = model(input_ids=tokens, attention_mask=mask, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 20 == 0 or step == steps - 1:
            log.info("house backbone: step %d of %d, loss %.2f", step + 1, steps, float(loss.detach()))
            report((step + 1) / steps)
    model.eval()


def _batches(
    tokenizer: PreTrainedTokenizerFast, lines: list[str], recipe: Recipe
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of similar length, in random order: little of a step is spent on padding."""
    ids = [ids[: recipe.length] for ids in tokenizer(lines)["input_ids"]]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    batches = [order[i : i + recipe.batch] for i in range(0, len(order) - recipe.batch + 1, recipe.batch)]
    for index in torch.randperm(len(batches)).tolist():
        rows = [ids[i] for i in batches[index]]
        longest = max(len(row) for row in rows)
        tokens = torch.zeros(len(rows), longest, dtype=torch.long)
        mask = torch.zeros_like(tokens)
        for place, row in enumerate(rows):
            tokens[place, : len(row)] = torch.tensor(row)
            mask[place, : len(row)] = 1
        yield tokens, mask
