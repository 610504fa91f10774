"""How long does a decision take, beside transformers' own forward of the same backbone on the same tokens?

First decisions at 64, 256 and 1,024 tokens (fresh conversations, nothing remembered; the rival reads the very same
ones) and the next turn of a conversation (512 tokens, then 64 more) beside deciding it from scratch. The router carries
a `released` vector; the logits of a first decision and of a next turn are held against matrices rebuilt densely by the
definition of SVF.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from qwen import WORKERS, backbone, interleaved, over, plain, timed, transcript, vector
from reporting import report

from models.fugu import transcript as transcripts
from models.fugu.forward.backbone import Backbone
from models.fugu.router import Router
from models.workers.ask import Message

TIMES = {64: 11, 256: 7, 1024: 3}
TURN_TIMES = 5


def message(text: str) -> list[Message]:
    return [{"role": "w1", "content": text}]


def opening(tokens: int, seed: int) -> list[Message]:
    """A conversation of so many tokens; its role is one of them."""
    return message(transcript(tokens - 1, seed))


def read(messages: list[Message]) -> str:
    """What the router reads of it."""
    return transcripts.text(messages)


def dense_logits(backbone: Backbone, numbers: np.ndarray, text: str) -> np.ndarray:
    """The definition, as the released code runs it: every matrix rebuilt, all tokens, the state at token −2."""
    last = backbone.layer_count - 2
    layer = backbone.model.layers[last]
    matrices = [backbone.model.embed_tokens, *(m for m in layer.modules() if isinstance(m, torch.nn.Linear))]
    matrices.append(backbone.model.embed_tokens)
    before = [module.weight.data for module in matrices]
    offsets = torch.from_numpy(numbers).double()
    start = 0
    for module in matrices:
        size = min(module.weight.shape)
        module.weight.data = rebuilt(module.weight.data, offsets[start : start + size])
        start += size
    ids = torch.tensor([backbone.tokenizer(text)["input_ids"]])
    state = backbone.model(input_ids=ids, use_cache=False).last_hidden_state[0, -2]
    for module, weight in zip(matrices, before, strict=True):
        module.weight.data = weight
    logits: np.ndarray = (torch.from_numpy(numbers[start:]).view(-1, backbone.width) @ state).numpy()
    return logits


def rebuilt(weight: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    """U diag((1 + δ)σ) Vᵀ · Σσ / Σ(1 + δ)σ, from the eigenvectors of the shorter side."""
    short = weight if weight.shape[0] >= weight.shape[1] else weight.T
    gram = sum((rows.double().T @ rows.double() for rows in short.split(8192)), torch.zeros(()))
    squares, basis = torch.linalg.eigh(gram)
    sigma, basis = squares.clamp(min=0).sqrt().flip(0), basis.flip(1)
    scale = (1 + offsets) * (sigma.sum() / ((1 + offsets) * sigma).sum())
    result = short @ (basis * scale @ basis.T).float()
    return result if short is weight else result.T.contiguous()


@torch.inference_mode()
def main() -> None:
    model = backbone(device="cpu")  # conversations are resumed, and 1e-3 is kept, in float32
    numbers = vector(model, "released")
    router = Router(model, numbers, WORKERS)
    fresh = iter(range(10_000))
    lines, first = [], {}
    for tokens, times in TIMES.items():
        asked = [opening(tokens, next(fresh)) for _ in range(times)]
        rivals = iter([plain(model, [read(messages)]) for messages in asked])
        mine = iter(asked)
        both = [lambda mine=mine: router.decide(next(mine)), lambda rivals=rivals: next(rivals)()]
        ours, theirs = interleaved(both, times)
        first[tokens] = over(ours, theirs)
        lines.append((f"first decision, {tokens} tokens", ours, theirs, first[tokens]))
    turn, scratch = turns(model, router, fresh.__next__)
    lines.append(("next turn, 512 + 64 tokens, beside scratch", turn, scratch, over(turn, scratch)))
    for name, ours, theirs, ratio in lines:
        print(f"{name}: {statistics.median(ours):.3f} s, rival {statistics.median(theirs):.3f} s, ratio {ratio:.3f}")
    text = read(opening(256, 1))
    error = np.abs(router.logits([text])[0] - dense_logits(model, numbers, text)).max()
    figures = {
        "first_over_forward": max(first.values()),
        "next_turn_over_scratch": over(turn, scratch),
        "logit_error": float(error),
        "next_turn_logit_error": turn_error(model, router, numbers),
    }
    bounds = dict(zip(figures, (1.0, 0.2, 1e-3, 1e-3), strict=True))
    report("route", figures, {name: ("<=", bound) for name, bound in bounds.items()})


def turn_error(model: Backbone, router: Router, numbers: np.ndarray) -> float:
    """How far a next turn's logits, from keys and values that were kept, are from the definition's."""
    first, more = transcript(255, 2), transcript(64, 3)
    router.decide(message(first))
    decision = router.decide(whole := message(f"{first} {more}"))
    dense = dense_logits(model, numbers, read(whole))
    return float(np.abs(np.concatenate([decision.worker_logits, decision.role_logits]) - dense).max())


def turns(model: Backbone, router: Router, fresh: Callable[[], int]) -> tuple[list[float], list[float]]:
    """Seconds of the second decision of a conversation, and of the same text where nothing is remembered."""
    ours, theirs = [], []
    for _ in range(TURN_TIMES):
        begun = transcript(511, fresh())
        router.decide(message(begun))
        known = message(f"{begun} {transcript(64, fresh())}")
        ours.append(timed(partial(router.decide, known)))
        unknown = message(f"{transcript(511, fresh())} {transcript(64, fresh())}")
        theirs.append(timed(partial(router.decide, unknown)))
    return ours, theirs


if __name__ == "__main__":
    main()
