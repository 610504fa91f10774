"""The cold start: a causal language model learns to go on from a prompt with a written workflow.

The loss is on the completion alone. What is not here, on purpose: packing, accumulation, several devices; a model that
needs them is trained elsewhere and served as a folder or behind a URL.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from models.conductor.checkpoint import prompt_ids
from models.workers.ask import Message

log = logging.getLogger(__name__)

IGNORED = -100
"""The label of a position without a loss, as Hugging Face's models read it."""


Row = tuple[list[int], int]
"""A text's tokens, and how many of the first carry no loss."""


@dataclass(frozen=True)
class Example:
    """`prompt` is raw text, or messages for the model's chat template."""

    prompt: str | tuple[Message, ...]
    completion: str


@dataclass(frozen=True)
class Tuning:
    """`length`: tokens of an example, which is cut from its left beyond; the default rate suits pretrained models."""

    epochs: int = 1
    batch: int = 8
    length: int = 4096
    learning_rate: float = 1e-5
    seed: int = 0


@dataclass(frozen=True)
class Batch:
    """Right-padded; each [rows, tokens]."""

    tokens: torch.Tensor
    mask: torch.Tensor
    labels: torch.Tensor


def tune(
    model: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    tuning: Tuning,
    report: Callable[[float], None] | None = None,
) -> float:
    """Train `model` in place on the examples' completions; the mean loss of the last tenth of the steps.

    Equal arguments give an equal model on one machine. `report` gets the finished fraction.
    """
    rows = [_encoded(tokenizer, example, tuning.length) for example in examples]
    # The caller's own random state stays as it was: a flow's other draws must not depend on a training.
    with torch.random.fork_rng():
        torch.manual_seed(tuning.seed)
        batches = [batch for _ in range(tuning.epochs) for batch in batched(_shuffled(rows), tuning.batch)]
        losses = fit(model, batches, tuning.learning_rate, report)
    last = losses[-max(1, len(losses) // 10) :]
    return sum(last) / len(last)


def fit(
    model: Any, batches: Sequence[Batch], learning_rate: float, report: Callable[[float], None] | None = None
) -> list[float]:
    """One pass over the batches, AdamW with warm-up and a linear decay; every step's loss. Leaves `eval` set."""
    steps = len(batches)
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / (0.05 * steps + 1), 1.0 - step / (steps + 1))
    )
    losses = []
    model.train()
    for step, batch in enumerate(batches):
        place = model.device
        loss = model(
            input_ids=batch.tokens.to(place), attention_mask=batch.mask.to(place), labels=batch.labels.to(place)
        ).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if step % 20 == 0 or step == steps - 1:
            log.info("training: step %d of %d, loss %.2f", step + 1, steps, losses[-1])
            if report is not None:
                report((step + 1) / steps)
    model.eval()
    return losses


def batched(rows: Sequence[Row], size: int) -> Iterator[Batch]:
    """Rows of similar length together, in random order: little of a step is spent on padding.

    The longest rows that fill no batch are left out.
    """
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]))
    groups = [order[i : i + size] for i in range(0, max(1, len(order) - size + 1), size)]
    for index in torch.randperm(len(groups)).tolist():
        yield _padded([rows[i] for i in groups[index]])


def _shuffled(rows: Sequence[Row]) -> list[Row]:
    """So that rows of one length meet others in every epoch."""
    return [rows[i] for i in torch.randperm(len(rows)).tolist()]


def _padded(rows: Sequence[Row]) -> Batch:
    longest = max(len(ids) for ids, _ in rows)
    tokens = torch.zeros(len(rows), longest, dtype=torch.long)
    mask, labels = torch.zeros_like(tokens), torch.full_like(tokens, IGNORED)
    for place, (ids, unscored) in enumerate(rows):
        tokens[place, : len(ids)] = torch.tensor(ids)
        mask[place, : len(ids)] = 1
        labels[place, unscored : len(ids)] = torch.tensor(ids[unscored:])
    return Batch(tokens, mask, labels)


def _encoded(tokenizer: Any, example: Example, length: int) -> Row:
    prompt = prompt_ids(tokenizer, example.prompt)
    completion = tokenizer(example.completion, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    prompt = prompt[max(0, len(prompt) + len(completion) - length) :]
    return prompt + completion, len(prompt)
