"""Answer a batch of questions through the loop, every turn a task: what the endpoint does, seen in Prefect's UI.

Seed 000, section 4: the router reads the transcript and picks a worker (and, in TRINITY's variant, a role); the
worker's reply joins the transcript; a VERIFIER's ACCEPT or the turn budget ends the loop.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Literal

from pydantic import Field

from models.errors import NotFound
from models.fugu.loop import LoopOptions, Turn
from models.fugu.microbatch import MicroBatcher
from models.fugu.rollout import Decider
from models.fugu.rollout import answer as drive
from models.ledger import registry
from models.workers.ask import Ask, Message, Reply
from tasks.ask import ask
from tasks.checkpoint import serving
from tasks.quiet import flow
from tasks.report import table
from tasks.route import load_router
from tasks.session import Session, all_ended, open_session


@flow(name="answer", flow_run_name="answer {model}")
async def answer(
    questions: list[str] = Field(description="what to ask"),
    model: Literal["fugu", "trinity"] = "trinity",
    pool: str = "house",
    name: str = Field("", description="a new name asks again what was answered before"),
    max_usd: float = Field(0.0, ge=0, description="the most that this run may spend"),
) -> list[str]:
    """The answers, in the order of the questions. A run that was killed pays only for what is missing."""
    async with open_session(pool, max_usd) as session:
        champion = serving(session.ledger, model, session.pool)
        if champion is None:
            raise NotFound(
                f"nothing serves {model!r} on pool {session.pool.name!r} yet: run the deployment first-light first"
            )
        content = json.dumps([questions, champion.target, name], sort_keys=True)
        scope = f"answer:{hashlib.sha256(content.encode()).hexdigest()[:16]}"
        if champion.target["kind"] == "worker":
            name_of = champion.target["worker"]
            texts = await all_ended(*(_of_worker(session, scope, n, q, name_of) for n, q in enumerate(questions)))
        else:
            checkpoint = registry.load_checkpoint(session.ledger, champion.target["checkpoint"])
            router = await asyncio.to_thread(load_router, checkpoint)
            options = LoopOptions(roles=model == "trinity", dispatcher=router.roles)
            shared = MicroBatcher(router)
            texts = await all_ended(*(_of_loop(session, scope, n, q, shared, options) for n, q in enumerate(questions)))
        await table("answers", [{"question": q, "answer": a} for q, a in zip(questions, texts, strict=True)], model)
    return list(texts)


async def _of_worker(session: Session, scope: str, number: int, question: str, worker: str) -> str:
    reply = await _ask(session, scope, number, worker, (_user(question),), f"question {number + 1}: {worker}")
    return reply.text or ""


async def _of_loop(
    session: Session, scope: str, number: int, question: str, decider: Decider, options: LoopOptions
) -> str:
    async def send(turn: Turn) -> Reply:
        role = "" if turn.role is None else f" as {turn.role.name}"
        label = f"question {number + 1}, turn {turn.turn}: {turn.worker}{role}"
        return await _ask(session, scope, number, turn.worker, tuple(turn.messages), label)

    outcome = await drive([_user(question)], decider, send, options)
    return outcome.text


async def _ask(
    session: Session, scope: str, number: int, worker: str, messages: tuple[Message, ...], label: str
) -> Reply:
    wanted = Ask(
        scope=scope,
        worker=worker,
        revision=session.pool.worker(worker).revision,
        messages=tuple(dict(m) for m in messages),
        replicate=number,
    )
    return await ask(wanted, label)


def _user(question: str) -> dict[str, str]:
    return {"role": "user", "content": question}
