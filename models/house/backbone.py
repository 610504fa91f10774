"""The house backbone: a small Qwen3 with its own byte-level BPE, pretrained briefly on unlabelled house text.

It is made on first use and stored under its recipe's digest: a minute of next-token prediction on `text.corpus`, after
which its states separate the kinds of questions (data/EXPERIMENTS.md, section 3). The pretraining text contains neither
scores nor worker names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from transformers import PreTrainedTokenizerFast

from models.conductor.learn.sft import Row, batched, fit
from models.digest import json_digest
from models.files import staged_folder
from models.house import text
from models.house.qwen import fresh, one_thread, train_tokenizer

REVISION = 1
"""Part of every recipe's digest: change the number whenever the procedure changes."""


@dataclass(frozen=True)
class Recipe:
    """Size and training: one pass over `lines` of corpus, in batches of `batch`, each cut to `length` tokens."""

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
        return json_digest([REVISION, text.REVISION, asdict(self)])[:16]


DEFAULT = Recipe()
TINY = Recipe(layers=4, width=64, heads=2, key_value_heads=1, inner=128, vocabulary=1024, lines=3_000)
"""For tests: made in seconds."""


def make(home: Path, recipe: Recipe = DEFAULT, report: Callable[[float], None] | None = None) -> Path:
    """The folder of the backbone under `home/backbones`, made now if it is missing.

    Several processes may call concurrently: one makes it, the others wait. `report` gets the finished fraction, also
    while waiting.
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

            with staged_folder(folder) as made:
                _make(made, recipe, reached)
            done.unlink()
    return folder


@contextmanager
def _locked(folder: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the folder's lock; call `waiting` every second until it is acquired."""
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
    tokenizer = train_tokenizer(lines, recipe.vocabulary)
    # Keep the caller's random state: a flow's other draws must not depend on whether the backbone was cached.
    with torch.random.fork_rng(), one_thread():
        torch.manual_seed(recipe.seed)
        model = fresh(recipe)
        fit(model, list(batched(_rows(tokenizer, lines, recipe.length), recipe.batch)), recipe.learning_rate, report)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1) + "\n")


def _rows(tokenizer: PreTrainedTokenizerFast, lines: list[str], length: int) -> list[Row]:
    """Training rows with a loss on every token."""
    return [(ids[:length], 0) for ids in tokenizer(lines)["input_ids"]]
