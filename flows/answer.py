"""Answer a batch of questions as the endpoint does, but with every turn as a task in Prefect's UI.

TRINITY, arXiv 2512.04695, section 3: the router reads the transcript and picks a worker and, for `trinity`, a role; the
worker's reply is added to the transcript; a VERIFIER's ACCEPT or the turn budget ends the loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from models.digest import json_digest
from models.errors import NotFound
from models.fugu.loop import LoopOptions, Turn
from models.fugu.microbatch import MicroBatcher
from models.fugu.rollout import Decider, options_of
from models.fugu.rollout import answer as drive
from models.ledger import registry
from models.ledger.requests import Row, record_request
from models.workers.ask import Ask, Message, Reply
from tasks import parameters
from tasks.ask import ask
from tasks.pages.report import table
from tasks.quiet import flow
from tasks.setup.checkpoint import serving
from tasks.setup.questions import QUESTIONS, id_content, load_inputs
from tasks.setup.router import load_router
from tasks.setup.session import Session, all_ended, open_session
from tasks.setup.settings import HOUSE
from tasks.setup.texts import shown

Asked = tuple[Message, ...]
"""A question's messages."""


@flow(name="answer", flow_run_name="answer {model}", persist_result=False)
async def answer(
    questions: str | list[str] = Field(description=QUESTIONS),
    model: Literal["fugu", "trinity"] = Field("trinity", description="fugu: one worker; trinity: the loop of roles"),
    pool: str = Field(HOUSE, description=parameters.POOL),
    name: str = Field("", description=parameters.NAME),
    max_usd: float = Field(0.0, ge=0, description=parameters.MAX_USD),
) -> list[str]:
    """Returns the answers in the order of the questions. A run that was killed pays only for what is missing.

    Raises BadInput for literal questions where texts may not be shown.
    """
    batch = await asyncio.to_thread(load_inputs, questions)
    async with open_session(pool, max_usd) as session:
        champion = serving(session.ledger, model, session.pool)
        if champion is None:
            raise NotFound(
                f"nothing serves {model!r} on pool {session.pool.name!r} yet: run the deployment first-light first"
            )
        content = [[id_content(messages) for messages in batch], champion.target, name]
        scope = f"answer:{json_digest(content)[:16]}"
        rows = [_row(scope, number, messages) for number, messages in enumerate(batch)]
        await asyncio.to_thread(_record, session, rows)
        if champion.target["kind"] == "worker":
            name_of = champion.target["worker"]
            texts = await all_ended(*(_of_worker(session, scope, n, q, name_of) for n, q in enumerate(batch)))
        else:
            checkpoint = registry.load_checkpoint(session.ledger, champion.target["checkpoint"])
            router = await asyncio.to_thread(load_router, checkpoint)
            options = options_of(router, roles=model == "trinity")
            shared = MicroBatcher(router)
            texts = await all_ended(*(_of_loop(session, scope, n, q, shared, options) for n, q in enumerate(batch)))
        done = [{**row, "status": "answered", "body": {"text": text}} for row, text in zip(rows, texts, strict=True)]
        await asyncio.to_thread(_record, session, done)
        happened = f"{len(done)} questions were answered by {model}; `fugu show ID` prints question and answer."
        await table("answers", [_shown_row(row) for row in done], happened)
    return list(texts)


def _row(scope: str, number: int, messages: Asked) -> Row:
    """The ledger row of a question, for `fugu show`."""
    row = {"id": f"{scope}/{number}", "model": "answer", "status": "running", "created": int(time.time())}
    return {**row, "messages": list(messages), "body": None}


def _record(session: Session, rows: Sequence[Row]) -> None:
    for row in rows:
        record_request(session.ledger, row)


def _shown_row(row: Row) -> Row:
    words = {"question": row["messages"][-1]["content"], "answer": row["body"]["text"]} if shown() else {}
    return {"request": row["id"], **words}


async def _of_worker(session: Session, scope: str, number: int, question: Asked, worker: str) -> str:
    reply = await _ask(session, scope, number, worker, question, f"question {number + 1}: {worker}")
    return reply.text or ""


async def _of_loop(
    session: Session, scope: str, number: int, question: Asked, decider: Decider, options: LoopOptions
) -> str:
    allowed = [name for name in decider.workers if name in session.pool.names]

    async def send(turn: Turn) -> Reply:
        role = "" if turn.role is None else f" as {turn.role.name}"
        label = f"question {number + 1}, turn {turn.turn}: {turn.worker}{role}"
        return await _ask(session, scope, number, turn.worker, tuple(turn.messages), label, turn.repeat)

    outcome = await drive(list(question), decider, send, options, allowed)
    return outcome.text


async def _ask(
    session: Session, scope: str, number: int, worker: str, messages: Asked, label: str, repeat: int = 0
) -> Reply:
    wanted = Ask(
        scope=scope,
        worker=worker,
        revision=session.pool.worker(worker).revision,
        messages=tuple(dict(m) for m in messages),
        replicate=number,
    )
    return await ask(wanted.again(repeat), label)
