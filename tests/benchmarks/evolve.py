"""What does a generation cost without its workers, beside plain forwards of the same transcripts?

33 candidates and 8 transcripts of 256 tokens, under the layouts `released` and `late`. One unit is 33 × 8 plain
forwards by transformers, in the same batches of 8. Two parts are measured on fewer candidates and scaled, because
their cost is the same for each: the plain forwards (8 of them, times 33) and `released` (its shared part, the
look-up of the tokens, is then counted more often than it is done). The rival of both layouts rebuilds its matrices
for each candidate from factors that were computed once.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

import numpy as np
import torch
from qwen import WORKERS, backbone, interleaved, over, plain, transcript, vector
from reporting import report

from models.fugu.backbone import Backbone
from models.fugu.router import Candidate, Router

POPULATION, TRANSCRIPTS, TOKENS = 33, 8, 256
RELEASED = 3
TIMES = 3
LAMBDAS = (1, 2, 4, 8, 16, 33)
QUESTIONS = (1, 2, 4, 8, 16)


def generation(router: Router, texts: Sequence[str], population: np.ndarray) -> np.ndarray:
    """Every candidate installed, and the logits of every transcript under each: [C · B, rows]."""
    candidates = [router.candidate(vector) for vector in population]
    return router.logits_of([*texts] * len(candidates), [c for c in candidates for _ in texts])


def cold(router: Router, texts: Sequence[str], population: np.ndarray) -> np.ndarray:
    """The same where no state is remembered."""
    router.backbone.forget()
    return generation(router, texts, population)


def rebuilding(router: Router, number: Candidate, forward: Callable[[], object]) -> Callable[[], object]:
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
    rival = rebuilding(released, released.candidate(some[0]), forward)
    runs = [
        forward,
        lambda: generation(released, texts, some),
        lambda: cold(late, texts, all_late),
        lambda: generation(late, texts, all_late),
        lambda: [released.candidate(vector) for vector in populations["released"]],
        rival,
    ]
    plain_s, released_s, cold_s, cached_s, install_s, rival_s = interleaved(runs, TIMES)
    unit = [POPULATION * seconds for seconds in plain_s]
    whole = [POPULATION / RELEASED * seconds for seconds in released_s]
    rebuilt = [POPULATION * seconds for seconds in rival_s]
    named = {"released": whole, "late, cold": cold_s, "late, cached": cached_s, "dense rebuild, released": rebuilt}
    print(f"33 × 8 plain forwards: {statistics.median(unit):.1f} s")
    for name, seconds in named.items():
        print(f"{name}: {statistics.median(seconds):.1f} s, {over(seconds, unit):.3f} of the plain forwards")
    curves(late, texts, all_late)
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


def curves(router: Router, texts: Sequence[str], vectors: np.ndarray) -> None:
    """Cost under `late` against λ and against questions: a shared part, and a part for each candidate."""
    for count in LAMBDAS:
        (seconds,) = interleaved([lambda n=count: cold(router, texts, vectors[:n])], 1)
        print(f"late, cold, λ = {count}, 8 transcripts: {seconds[0]:.2f} s")
    for count in QUESTIONS:
        asked = [transcript(TOKENS, 100 + seed) for seed in range(count)]
        (seconds,) = interleaved([lambda t=asked: cold(router, t, vectors)], 1)
        print(f"late, cold, λ = {len(vectors)}, {count} transcripts: {seconds[0]:.2f} s")


if __name__ == "__main__":
    main()
