"""The loop of at most K turns, as a generator without I/O: it yields requests and is sent their results.

Source: TRINITY (arXiv 2512.04695) and its released code. A turn is an `Observe` (answered by the router's
decision) and a `Turn` (answered by the worker's reply); the `Outcome` is the generator's return value.
Every turn leaves a note: a SOLVER's thought, a THINKER's advice, a VERIFIER's objection. The next SOLVER is sent the
notes, and the router reads them at the end of the conversation's last user message.
Deliberate departures: the whole conversation is used; a VERIFIER with nothing to verify becomes SOLVER, and so does the
last turn without an answer that stands. An answer that was rejected stands no longer: it has to be revised, and the
same text again is not verified again, so that no second verifier accepts what the first one rejected.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from models.errors import BadInput
from models.fugu import roles
from models.fugu.roles import Note, Role
from models.workers.ask import Message

if TYPE_CHECKING:
    from models.fugu.decision import Decision

Messages = Sequence[Message]


@dataclass(frozen=True)
class LoopOptions:
    """`turns`: the turn budget K. `roles`: TRINITY's loop; else the product's: one turn, no prompt for the worker.

    `dispatcher`: whether the router's text starts with the dispatcher prompt; by default the value of
    `roles`. A router with role rows was trained with it and keeps it in the product's loop.
    `released`: the dispatcher prompt of TRINITY's released router, which then reads its own form: this prompt (none if
    it is empty), and of the turns the SOLVERs' thoughts alone. What workers are sent is the same.
    """

    turns: int = 5
    roles: bool = True
    dispatcher: bool | None = None
    released: str | None = None


@dataclass(frozen=True)
class Observe:
    """A request for a `Decision` on `messages`."""

    messages: Messages


@dataclass(frozen=True)
class Turn:
    """A request for the reply of `worker` to `messages`; `turn` counts from 1. In an outcome, `reply` is set.

    `repeat`: how often this worker was sent these messages before, in this loop. Such an ask is another sample
    (`models.workers.ask.Ask.again`): the reply that is known already would change nothing.
    """

    turn: int
    worker: str
    worker_index: int
    role: Role | None
    messages: tuple[dict[str, Any], ...]
    decision: Decision
    repeat: int = 0
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
    text = roles.DISPATCHER.format(workers=worker_count) if options.released is None else options.released
    prompt = [{"role": "system", "content": text}] if dispatch and text else []
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
    notes: list[Note] = []
    suggested: Role | None = None
    latest: str | None = None
    rejected: set[str] = set()
    for number in range(1, options.turns + 1):
        decision = yield Observe([*prompt, *_with_blocks(conversation, _read(notes, options))])
        stands = latest is not None and _words(latest) not in rejected
        role = _role(decision, suggested, stands, last=number == options.turns)
        messages = tuple(roles.messages_for(role, conversation, notes, latest))
        repeat = sum((turn.worker, turn.messages) == (decision.worker, messages) for turn in turns)
        turn = Turn(number, decision.worker, decision.worker_index, role, messages, decision, repeat)
        reply = yield turn
        turns.append(replace(turn, reply=reply))
        # Control words count only in replies of the role that may use them.
        suggested = roles.suggested_role(reply) if role is Role.THINKER else None
        if role is Role.VERIFIER and roles.accepts(reply):
            return Outcome(latest or "", tuple(turns), accepted=True)
        if role is Role.VERIFIER:
            rejected.add(_words(latest or ""))
        latest = reply if role is Role.SOLVER else latest
        notes.append(roles.note_of(role, reply, notes))
    return Outcome(latest or "", tuple(turns), accepted=False)


def _role(decision: Decision, suggested: Role | None, stands: bool, last: bool) -> Role:
    """The next turn's role. `stands`: whether there is a SOLVER reply that no VERIFIER has rejected."""
    role = decision.role if suggested is None else suggested
    if role is None:
        raise BadInput("the loop with roles needs a router with role rows", "roles")
    return Role.SOLVER if not stands and (last or role is Role.VERIFIER) else role


def _words(reply: str) -> str:
    """A reply without its spacing: one that differs in nothing else is the same answer."""
    return " ".join(reply.split())


def _read(notes: Sequence[Note], options: LoopOptions) -> list[Note]:
    """The notes that reach the router."""
    return [note for note in notes if options.released is None or note.role is Role.SOLVER]


def _with_blocks(conversation: Messages, notes: Sequence[Note]) -> list[Message]:
    """The conversation with a line per note at the end of its last user message (or of its last message)."""
    messages = list(conversation)
    if not notes:
        return messages
    users = [index for index, message in enumerate(messages) if message.get("role") == "user"]
    index = users[-1] if users else len(messages) - 1
    blocks = "\n".join(note.block for note in notes)
    content = messages[index].get("content")
    if isinstance(content, str) or content is None:
        added: Any = f"{content or ''}\n{blocks}"
    else:
        added = [*content, {"type": "text", "text": blocks}]
    messages[index] = {**messages[index], "content": added}
    return messages
