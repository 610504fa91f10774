"""The cold start: supervised fine-tuning of a causal language model on prompts and written workflows.

The loss is on the completion only. Trained parameters are in single precision, whatever the model was loaded in: a
step of 1e-5 is lost on most weights in bf16. On a GPU the arithmetic is in bf16, and activations are recomputed for
the gradient. Packing and several devices are deliberately not supported; a model that needs them is trained elsewhere
and served from a folder or a URL.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from models.conductor.plan.checkpoint import prompt_ids
from models.workers.ask import Message

log = logging.getLogger(__name__)

IGNORED = -100
"""The label of a position without a loss, as Hugging Face's models read it."""


Row = tuple[list[int], int]
"""Token ids of a text, and the number of leading ones without a loss."""


@dataclass(frozen=True)
class Example:
    """`prompt` is raw text, or messages for the model's chat template."""

    prompt: str | tuple[Message, ...]
    completion: str


@dataclass(frozen=True)
class Tuning:
    """`length`: maximum tokens of an example, cut on the left; the default rate suits pretrained models.

    `micro_batch`: rows of one forward, 0 for the whole batch: fewer need less memory for the same step.
    """

    epochs: int = 1
    batch: int = 8
    length: int = 4096
    learning_rate: float = 1e-5
    seed: int = 0
    micro_batch: int = 0


@dataclass(frozen=True)
class Batch:
    """Right-padded; each [rows, tokens]."""

    tokens: torch.Tensor
    mask: torch.Tensor
    labels: torch.Tensor

    @property
    def scored(self) -> int:
        """Number of tokens with a loss; a row's first token has none, since nothing precedes it."""
        return int((self.labels[:, 1:] != IGNORED).sum())

    def parts(self, rows: int) -> list[Batch]:
        """The batch in parts of `rows` rows; 0 for one part."""
        parts = (tensor.split(rows or len(tensor)) for tensor in (self.tokens, self.mask, self.labels))
        return [Batch(*part) for part in zip(*parts, strict=True)]


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
    # The caller's random state is restored: a flow's other draws must not depend on a training.
    with torch.random.fork_rng():
        torch.manual_seed(tuning.seed)
        batches = [batch for _ in range(tuning.epochs) for batch in batched(_shuffled(rows), tuning.batch)]
        losses = fit(model, batches, tuning.learning_rate, report, micro_batch=tuning.micro_batch)
    last = losses[-max(1, len(losses) // 10) :]
    return sum(last) / len(last)


def fit(
    model: Any,
    batches: Sequence[Batch],
    learning_rate: float,
    report: Callable[[float], None] | None = None,
    *,
    micro_batch: int = 0,
) -> list[float]:
    """One pass over the batches, AdamW with warm-up and a linear decay; every step's loss. Leaves `eval` set.

    Every parameter that requires a gradient is trained, and is in single precision afterwards.
    """
    steps = len(batches)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / (0.05 * steps + 1), 1.0 - step / (steps + 1))
    )
    losses = []
    model.train()
    if on_gpu := model.device.type == "cuda":
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    for step, batch in enumerate(batches):
        optimiser.zero_grad()
        parts = [part for part in batch.parts(micro_batch) if part.scored]
        losses.append(sum(_backward(model, part, part.scored / batch.scored) for part in parts))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 20 == 0 or step == steps - 1:
            log.info("training: step %d of %d, loss %.2f", step + 1, steps, losses[-1])
            if report is not None:
                report((step + 1) / steps)
    if on_gpu:
        model.gradient_checkpointing_disable()
    model.eval()
    return losses


def _backward(model: Any, part: Batch, share: float) -> float:
    """Add the gradient of the part's mean token loss times its share of the batch; returns that product."""
    place = model.device
    with torch.autocast(place.type, torch.bfloat16, enabled=place.type == "cuda"):
        loss = model(
            input_ids=part.tokens.to(place), attention_mask=part.mask.to(place), labels=part.labels.to(place)
        ).loss
    loss = loss * share
    loss.backward()
    return float(loss.detach())


def batched(rows: Sequence[Row], size: int) -> Iterator[Batch]:
    """Batches of rows of similar length, in random order, which saves padding.

    The longest rows, which do not fill a batch, are left out.
    """
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]))
    groups = [order[i : i + size] for i in range(0, max(1, len(order) - size + 1), size)]
    for index in torch.randperm(len(groups)).tolist():
        yield _padded([rows[i] for i in groups[index]])


def _shuffled(rows: Sequence[Row]) -> list[Row]:
    """Shuffled, so that rows of one length share batches with different ones in every epoch."""
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
