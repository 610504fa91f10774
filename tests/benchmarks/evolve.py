"""What does a generation cost without its workers, beside plain forwards of the same transcripts?

33 candidates and 8 transcripts of 256 tokens, under the layouts `released` and `late`, asked at once through the
micro-batcher as evolution asks them. One unit is 33 × 8 plain
forwards by transformers, in the same batches of 8. Some parts are measured on fewer candidates and scaled, because
their cost is the same for each: the plain forwards (8 of them, times 33) and `released` (its shared part, the
look-up of the tokens, is then counted more often than it is done; their number is even, so that both lanes of two
cores have full batches, as 33 nearly have). The rival of each layout rebuilds its matrices
for each candidate from factors that were computed once, and runs the whole forward. At the end the cost of both
layouts against λ and against questions; the small curve of `released` has few of each, since its cost is their
product. Some ten minutes on two cores.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Sequence

import numpy as np
import torch
from qwen import WORKERS, backbone, interleaved, over, plain, transcript, vector
from reporting import report

from models.fugu.forward.backbone import Backbone
from models.fugu.microbatch import MicroBatcher
from models.fugu.router import Candidate, Router

POPULATION, TRANSCRIPTS, TOKENS = 33, 8, 256
RELEASED = 4
TIMES = 3
LAMBDAS = {"late": (1, 2, 4, 8, 16, 33), "released": (1, 2, 4)}
QUESTIONS = {"late": (1, 2, 4, 8, 16), "released": (1, 2, 4)}
ASKED = {"late": TRANSCRIPTS, "released": 2}
"""Transcripts of the curve against λ."""

CANDIDATES = {"late": POPULATION, "released": 2}
"""Of the curve against questions."""


def generation(router: Router, texts: Sequence[str], population: np.ndarray) -> list[np.ndarray]:
    """Every candidate installed, and the logits [B, rows] of every transcript under each."""
    candidates = [router.candidate(vector) for vector in population]
    return asyncio.run(asked(MicroBatcher(router), texts, candidates))


async def asked(batcher: MicroBatcher, texts: Sequence[str], candidates: Sequence[Candidate]) -> list[np.ndarray]:
    """What the candidates get who ask at the same time."""
    found = await asyncio.gather(*(batcher.logits(texts, candidate) for candidate in candidates))
    batcher.close()
    return found


def cold(router: Router, texts: Sequence[str], population: np.ndarray) -> list[np.ndarray]:
    """The same where no state is remembered."""
    router.backbone.forget()
    return generation(router, texts, population)


def rebuilding(number: Candidate, forward: Callable[[], object]) -> Callable[[], object]:
    """The rival for one candidate: every adapted matrix made anew, then a plain forward."""
    scaling = number.scaling
    assert scaling is not None
    parts = [(factors.left, gain[0], factors.right) for (factors, _), gain in zip(*scaled(scaling), strict=True)]

    def run() -> object:
        for left, gain, right in parts:
            _ = (left * gain) @ right
        return forward()

    return run


def scaled(scaling: object) -> tuple[list, list]:
    return list(scaling.matrices.values()), list(scaling.gains.values())


@torch.inference_mode()
def main() -> None:
    model = backbone()
    texts = [transcript(TOKENS, seed) for seed in range(TRANSCRIPTS)]
    forward = plain(model, texts)
    routers = {name: Router(model, vector(model, name), WORKERS, layout=name) for name in ("released", "late")}
    populations = {name: population(model, name) for name in routers}
    released, late = routers["released"], routers["late"]
    some, all_late = populations["released"][:RELEASED], populations["late"]
    generation(released, texts[:1], some[:1]), generation(late, texts, all_late[:1])  # lays out every matrix
    rivals = [rebuilding(router.candidate(populations[name][0]), forward) for name, router in routers.items()]
    runs = [
        forward,
        lambda: generation(released, texts, some),
        lambda: cold(late, texts, all_late),
        lambda: generation(late, texts, all_late),
        lambda: [released.candidate(vector) for vector in populations["released"]],
        *rivals,
    ]
    plain_s, released_s, cold_s, cached_s, install_s, *rivals_s = interleaved(runs, TIMES)
    unit = [POPULATION * seconds for seconds in plain_s]
    whole = [POPULATION / RELEASED * seconds for seconds in released_s]
    named = {"released": whole, "late, cold": cold_s, "late, cached": cached_s}
    for name, seconds in zip(routers, rivals_s, strict=True):
        named[f"dense rebuild, {name}"] = [POPULATION * each for each in seconds]
    print(f"33 × 8 plain forwards: {statistics.median(unit):.1f} s")
    for name, seconds in named.items():
        print(f"{name}: {statistics.median(seconds):.1f} s, {over(seconds, unit):.3f} of the plain forwards")
    for name, router in routers.items():
        curves(name, router, populations[name])
    figures = {
        "install_over_generation": over(install_s, whole),
        "released_over_forwards": over(whole, unit),
        "late_over_forwards": over(cold_s, unit),
        "late_cached_over_forwards": over(cached_s, unit),
    }
    limits = (0.01, 1.02, 0.085, 0.055)
    report("evolve", figures, {name: ("<=", limit) for name, limit in zip(figures, limits, strict=True)})


def population(model: Backbone, layout: str) -> np.ndarray:
    return np.stack([vector(model, layout, seed) for seed in range(POPULATION)])


def curves(name: str, router: Router, vectors: np.ndarray) -> None:
    """Cost against λ and against questions: a shared part, and a part for each candidate."""
    for count in LAMBDAS[name]:
        curve(name, router, vectors[:count], ASKED[name])
    for count in QUESTIONS[name]:
        curve(name, router, vectors[: CANDIDATES[name]], count)


def curve(name: str, router: Router, vectors: np.ndarray, questions: int) -> None:
    """One point, where no state is remembered."""
    texts = [transcript(TOKENS, 100 + seed) for seed in range(questions)]
    (seconds,) = interleaved([lambda: cold(router, texts, vectors)], 1)
    print(f"{name}, cold, λ = {len(vectors)}, {questions} transcripts: {seconds[0]:.2f} s")


if __name__ == "__main__":
    main()
