"""Int8 decisions on a CPU, used where they agree with float32."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from models.fugu import transcript
from models.fugu.loop import Observe, Turn, loop
from models.fugu.roles import Role
from models.fugu.rollout import options_of
from models.fugu.router import Router
from models.grading.question import Question
from models.workers.ask import text_of

log = logging.getLogger(__name__)

LEAST = 0.995
"""The share of argmaxes, of workers and of roles, that must agree."""

FEWEST = 200
"""Texts that are needed: among fewer, a single differing decision would be more than `LEAST` allows."""


def reduced(router: Router, texts: Sequence[str], least: float = LEAST) -> Router:
    """The router with int8 products if on `texts` (held out) it decides alike and is faster, else `router` itself.

    `texts`: in rollout order, so that next turns are timed as such: float32 reuses keys and values, int8 does not.
    Matrices that the vector adapts stay in float32. The log has the figures in either case. Raises BadInput where the
    backbone has no int8 products (`Backbone.in_int8`).
    """
    if len(texts) < FEWEST:
        log.warning(
            "decisions stay in float32, int8 is not tried: only %d held-out texts are there, %d are needed",
            len(texts),
            FEWEST,
        )
        return router
    layout = router.layout.name
    facts = router.workers, router.roles, layout, router.released, router.form
    other = Router(router.backbone.in_int8, router.vector, *facts)
    other.fold()
    (exact, slow), (rough, fast) = (_timed(each, texts) for each in (router, other))
    agree = agreement(exact, rough, len(router.workers))
    figures = f"on {len(texts)} held-out texts {agree:.2%} of the argmaxes agree, in {fast / slow:.2f} of the time"
    if agree >= least and fast < slow:
        log.info("decisions are made in int8: %s", figures)
        return other
    log.warning("decisions stay in float32, int8 is not used: %s (at least %.1f %% must agree)", figures, 100 * least)
    return router


def met(
    router: Router, questions: Iterable[Question], recorded: Callable[[Question, Turn], str | None]
) -> Iterator[str]:
    """The texts that `router` reads in its rollouts of `questions`, rollout by rollout, each text once.

    `recorded`: a worker's recorded reply to a turn, if any. No worker is asked: without a recorded reply the rollout
    continues with a placeholder, which the loop renders like any other reply.
    """
    options, known = options_of(router), set[str]()
    for question in questions:
        steps = loop(question.messages, len(router.workers), options)
        event = next(steps)
        try:
            while True:
                if isinstance(event, Observe):
                    if (text := transcript.text(event.messages)) not in known:
                        known.add(text)
                        yield text
                    event = steps.send(router.decide(event.messages))
                else:
                    reply = recorded(question, event)
                    event = steps.send(_placeholder(question, event) if reply is None else reply)
        except StopIteration:
            continue


def _placeholder(question: Question, turn: Turn) -> str:
    """A reply about the question in the form that the role requires; never an ACCEPT, which would end the rollout."""
    text = text_of(question.messages[-1]["content"])
    if turn.role is Role.THINKER:
        return f"<suggestion>Take it step by step: {text}</suggestion>"
    return "REJECT It does not follow." if turn.role is Role.VERIFIER else f"Step {turn.turn}. We are asked: {text}"


def agreement(exact: NDArray[np.floating], rough: NDArray[np.floating], workers: int) -> float:
    """The share of rows [S, L (+ 3)] whose workers and, where there are some, roles have the same argmax."""
    same = exact[:, :workers].argmax(1) == rough[:, :workers].argmax(1)
    if exact.shape[1] > workers:
        same &= exact[:, workers:].argmax(1) == rough[:, workers:].argmax(1)
    return float(same.mean())


def _timed(router: Router, texts: Sequence[str]) -> tuple[NDArray[np.float32], float]:
    """Logits, and the seconds they took, one text at a time as in serving; weights are packed before."""
    router.resumed_logits(texts[:1])
    router.backbone.forget()
    started = time.perf_counter()
    logits = np.concatenate([router.resumed_logits([text]) for text in texts])
    return logits, time.perf_counter() - started
