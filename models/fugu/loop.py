"""The loop of at most K turns, as a generator without I/O: it yields requests and is sent their results.

Source: TRINITY (arXiv 2512.04695) and its released code. A turn is an `Observe` (answered by the router's
decision) and a `Turn` (answered by the worker's reply); the `Outcome` is the generator's return value.
Deliberate departures: a VERIFIER with nothing to verify, and the last turn without a SOLVER reply, become
SOLVER; the whole conversation is used, and thoughts are appended to its last user message.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from models.errors import BadInput
from models.fugu import roles
from models.fugu.roles import Role
from models.workers.ask import Message

if TYPE_CHECKING:
    from models.fugu.decision import Decision

Messages = Sequence[Message]


@dataclass(frozen=True)
class LoopOptions:
    """`turns`: the turn budget K. `roles`: TRINITY's loop; else the product's: one turn, no prompt for the worker.

    `dispatcher`: whether the router's text starts with the dispatcher prompt; by default the value of
    `roles`. A router with role rows was trained with it and keeps it in the product's loop.
    """

    turns: int = 5
    roles: bool = True
    dispatcher: bool | None = None


@dataclass(frozen=True)
class Observe:
    """A request for a `Decision` on `messages`."""

    messages: Messages


@dataclass(frozen=True)
class Turn:
    """A request for the reply of `worker` to `messages`; `turn` counts from 1. In an outcome, `reply` is set."""

    turn: int
    worker: str
    worker_index: int
    role: Role | None
    messages: tuple[dict[str, Any], ...]
    decision: Decision
    reply: str | None = None


@dataclass(frozen=True)
class Outcome:
    """`text`: the latest SOLVER reply. `accepted`: whether a VERIFIER ended the loop (the product: always)."""

    text: str
    turns: tuple[Turn, ...]
    accepted: bool


Loop = Generator[Observe | Turn, Any, Outcome]
"""It is sent a Decision after an Observe, and the reply's text after a Turn."""


def loop(conversation: Messages, worker_count: int, options: LoopOptions = LoopOptions()) -> Loop:
    """One conversation through the router and its workers.

    Raises BadInput for an empty conversation, a budget below 1, or a decision without a role where roles are used.
    """
    if not conversation:
        raise BadInput("the conversation holds no message", "messages")
    if options.turns < 1:
        raise BadInput("a loop takes at least one turn", "turns")
    dispatch = options.roles if options.dispatcher is None else options.dispatcher
    prompt = [{"role": "system", "content": roles.DISPATCHER.format(workers=worker_count)}] if dispatch else []
    return (_with_roles if options.roles else _product)(conversation, prompt, options)


def _product(conversation: Messages, prompt: Messages, options: LoopOptions) -> Loop:
    decision = yield Observe([*prompt, *conversation])
    turn = Turn(
        1, decision.worker, decision.worker_index, None, tuple(dict(message) for message in conversation), decision
    )
    reply = yield turn
    return Outcome(reply, (replace(turn, reply=reply),), accepted=True)


def _with_roles(conversation: Messages, prompt: Messages, options: LoopOptions) -> Loop:
    turns: list[Turn] = []
    thoughts: list[str] = []
    advice: str | None = None
    suggested: Role | None = None
    latest: str | None = None
    for number in range(1, options.turns + 1):
        decision = yield Observe([*prompt, *_with_thoughts(conversation, thoughts)])
        role = _role(decision, suggested, latest, last=number == options.turns)
        messages = tuple(roles.messages_for(role, conversation, thoughts, advice, latest))
        turn = Turn(number, decision.worker, decision.worker_index, role, messages, decision)
        reply = yield turn
        turns.append(replace(turn, reply=reply))
        suggested = None
        # Control words count only in replies of the role that may use them.
        if role is Role.SOLVER:
            latest = reply
            thoughts.append(roles.thought(reply))
        elif role is Role.THINKER:
            advice, suggested = roles.suggestion(reply) or advice, roles.suggested_role(reply)
        elif roles.accepts(reply):
            return Outcome(latest or "", tuple(turns), accepted=True)
    return Outcome(latest or "", tuple(turns), accepted=False)


def _role(decision: Decision, suggested: Role | None, latest: str | None, last: bool) -> Role:
    role = decision.role if suggested is None else suggested
    if role is None:
        raise BadInput("the loop with roles needs a router with role rows", "roles")
    nothing_to_verify = role is Role.VERIFIER and latest is None
    nothing_to_return = last and latest is None
    return Role.SOLVER if nothing_to_verify or nothing_to_return else role


def _with_thoughts(conversation: Messages, thoughts: Sequence[str]) -> list[Message]:
    """The conversation with a line per thought at the end of its last user message (or of its last message)."""
    messages = list(conversation)
    if not thoughts:
        return messages
    users = [index for index, message in enumerate(messages) if message.get("role") == "user"]
    index = users[-1] if users else len(messages) - 1
    blocks = "\n".join(roles.thought_block(k, text) for k, text in enumerate(thoughts))
    content = messages[index].get("content")
    if isinstance(content, str) or content is None:
        added: Any = f"{content or ''}\n{blocks}"
    else:
        added = [*content, {"type": "text", "text": blocks}]
    messages[index] = {**messages[index], "content": added}
    return messages
