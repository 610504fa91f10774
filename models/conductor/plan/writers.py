"""Plan writers: a prompted model, a local checkpoint, or a fixed text.

The house conductor is a checkpoint (`models.house.conductor`). A plan writer returns the completion's text; the caller
parses and lints it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, ClassVar, Protocol

from models.conductor.plan.familiar import Familiarity
from models.conductor.plan.prompt import Card, render
from models.conductor.plan.taught import Taught
from models.digest import folder_digest
from models.errors import BadFile, NotTaught, PermanentError
from models.workers.ask import Message, text_of

_FAR = "the question is far from everything that the conductor was taught, so one worker answers it"

BATCH = 32
"""Plans written in one batch, to bound memory."""

_REPAIR_TEMPERATURE = 0.7
READ_CHARS = 1 << 16
"""Characters of a conversation that a local model reads whole; of a longer one it reads the two ends."""

QUESTION_CHARS, _PREVIOUS_CHARS = 200, 300  # small models lose the format after longer prompts than in training
_SKILL, _SKILLED = re.compile(r"([\w-]+) ([01]\.\d+)"), 0.3


@dataclass(frozen=True)
class PlanRequest:
    """The input of a plan writer.

    `messages`: the user's conversation. `cards`: the workers that may be asked. `previous`: the answer of an earlier
    round. `refused` and `complaint`: the plan that was rejected, and why. `seed`: for the writer's sampling.
    """

    messages: tuple[Message, ...]
    cards: tuple[Card, ...]
    max_steps: int = 5
    previous: str | None = None
    complaint: str | None = None
    refused: str | None = None
    seed: int | None = None

    @property
    def question(self) -> str:
        """The user's last message; "" where there is none."""
        asked = (text_of(m.get("content")) for m in reversed(self.messages) if m.get("role") == "user")
        return next(asked, "")

    @property
    def skills(self) -> dict[str, int]:
        """task -> ordinal of the best worker according to the cards, however low its score.

        A plan may name a worker by a task.
        """
        return {task: ordinal for task, (_, ordinal) in self._best.items()}

    @property
    def offered_skills(self) -> list[str]:
        """The tasks in which the best worker's score is at least `_SKILLED`."""
        return [task for task, (mean, _) in self._best.items() if mean >= _SKILLED]

    @property
    def _best(self) -> dict[str, tuple[float, int]]:
        best: dict[str, tuple[float, int]] = {}
        for card in self.cards:
            for task, mean in _SKILL.findall(card.text):
                if task not in best or float(mean) > best[task][0]:
                    best[task] = float(mean), card.ordinal
        return dict(sorted(best.items()))


class PlanWriter(Protocol):
    """`name` is recorded with the workflow. `reads_cards`: whether its prompt shows the cards, so that ordinals may be
    shuffled.
    """

    @property
    def name(self) -> str: ...

    @property
    def reads_cards(self) -> bool: ...

    async def write(self, request: PlanRequest) -> str:
        """The completion's text, unparsed."""
        ...


@dataclass(frozen=True)
class FixedWriter:
    """Writes always the same plan: for benchmarks, tests, and workflows written by hand."""

    text: str
    name: str = "fixed"
    reads_cards: ClassVar[bool] = False

    async def write(self, request: PlanRequest) -> str:
        return self.text


@dataclass(frozen=True)
class NoWriter:
    """Writes no plan, so that one worker answers; `reason` is in the trace."""

    reason: str
    name: str = "nobody"
    reads_cards: ClassVar[bool] = False

    async def write(self, request: PlanRequest) -> str:
        raise NotTaught(self.reason)


@dataclass(frozen=True)
class PromptedWriter:
    """Prompts any model that follows instructions. `ask` sends the messages and records the call in the ledger."""

    ask: Callable[[list[Message]], Awaitable[str]]
    name: str = "prompted"
    reads_cards: ClassVar[bool] = True

    async def write(self, request: PlanRequest) -> str:
        return await self.ask(full_prompt(request))


def full_prompt(request: PlanRequest) -> list[Message]:
    """The instructions with examples, question and workers; after a rejection also the plan and the complaint."""
    messages = render(request.messages, request.cards, max_steps=request.max_steps, previous=request.previous)
    if request.complaint is None:
        return messages
    again = f"This workflow cannot be used: {request.complaint}\nWrite all three lists again."
    return [*messages, {"role": "assistant", "content": request.refused or ""}, {"role": "user", "content": again}]


def _bounded(request: PlanRequest) -> PlanRequest:
    """A conversation of more than `READ_CHARS` characters as one message: a quarter of them from its beginning,
    the rest from its end, where the current request is."""
    texts = [text_of(message.get("content")) for message in request.messages]
    if sum(map(len, texts)) <= READ_CHARS:
        return request
    whole = "\n".join(f"{message.get('role')}: {text}" for message, text in zip(request.messages, texts, strict=True))
    first = READ_CHARS // 4
    read = f"{whole[:first]}\n[...]\n{whole[first - READ_CHARS :]}"
    return replace(request, messages=({"role": "user", "content": read},))


def compact_prompt(request: PlanRequest) -> str:
    """The prompt of small models trained on it: the last question, the ordinals, the step limit, any previous answer.

    It shows no cards, so each ordinal must always mean the same worker: ordinals may be masked, but not shuffled.
    """
    return _compact(request, f"models: {' '.join(str(card.ordinal) for card in request.cards)}")


def carded_prompt(request: PlanRequest) -> str:
    """`compact_prompt` with the offered skills instead of ordinals; a step names the skill that it needs.

    The cards map skills to workers (`PlanRequest.skills`), so ordinals may be shuffled, and a worker unseen in training
    is asked according to its card. A model of a million weights does not learn to look that up in its prompt (measured:
    data/EXPERIMENTS.md, section 9), and need not.
    """
    return _compact(request, f"skills: {' '.join(request.offered_skills)}")


def _compact(request: PlanRequest, offered: str) -> str:
    lines = [f"question: {request.question[:QUESTION_CHARS]}", offered, f"steps: {request.max_steps}"]
    if request.previous is not None:
        lines.append(f"previous: {request.previous[:_PREVIOUS_CHARS]}")
    return "\n".join(lines) + "\n"


PROMPTS: dict[str, Callable[[PlanRequest], str | list[Message]]] = {
    "full": full_prompt,
    "compact": compact_prompt,
    "carded": carded_prompt,
}


class CheckpointWriter:
    """A local Hugging Face causal language model. Greedy unless a temperature is given; sampled plans follow the seed.

    Requests that arrive while it writes form the next batch. `familiarity`: of a small model, which questions it plans
    for; it refuses the others.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str,
        prompt: str = "full",
        max_tokens: int = 1024,
        temperature: float = 0.0,
        familiarity: Familiarity | None = None,
    ) -> None:
        self.name, self.familiarity, self.digest = name, familiarity, ""
        self.reads_cards = prompt != "compact"
        self._model, self._tokenizer, self._prompt = model, tokenizer, PROMPTS[prompt]
        self._max_tokens, self._temperature = max_tokens, temperature
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="conductor")
        self._waiting: SimpleQueue[tuple[PlanRequest, Future[str]]] = SimpleQueue()

    @classmethod
    def load(
        cls, folder: Path, *, name: str | None = None, max_tokens: int = 1024, temperature: float = 0.0
    ) -> CheckpointWriter:
        """From a folder as `save_pretrained` writes it. Imports torch, which takes seconds.

        Raises BadFile where the folder holds no such model.
        """
        from models.conductor.plan import checkpoint

        prompt, familiarity = Taught.read(folder).prompt, Familiarity.load(folder)
        try:
            model, tokenizer = checkpoint.load(folder)
        except (OSError, ValueError) as error:
            raise BadFile(folder, f"holds no causal language model: {error}") from None
        name = name or folder.resolve().name
        sampling: dict[str, Any] = {"max_tokens": max_tokens, "temperature": temperature}
        writer = cls(model, tokenizer, name=name, prompt=prompt, familiarity=familiarity, **sampling)
        writer.digest = folder_digest(folder)
        return writer

    async def write(self, request: PlanRequest) -> str:
        """Raises NotTaught for a question that is far from all that it was taught."""
        if self.familiarity is not None and self.familiarity.is_far(request.question):
            raise NotTaught(_FAR)
        future: Future[str] = Future()
        self._waiting.put((request, future))
        self._thread.submit(self._write_waiting)
        return await asyncio.wrap_future(future)

    def write_many(self, requests: Sequence[PlanRequest]) -> list[str]:
        """The plans of several requests, in their order, `BATCH` of them at a time."""
        from models.conductor.plan import checkpoint

        texts = []
        for start in range(0, len(requests), BATCH):
            batch = requests[start : start + BATCH]
            texts += checkpoint.complete(
                self._model,
                self._tokenizer,
                [self._read(request) for request in batch],
                max_tokens=self._max_tokens,
                temperatures=[self._temperature_for(request) for request in batch],
                seeds=[(request.seed or 0) % 2**63 for request in batch],
            )
        return texts

    def _read(self, request: PlanRequest) -> str | list[Message]:
        return self._prompt(_bounded(request) if self._prompt is full_prompt else request)

    def _temperature_for(self, request: PlanRequest) -> float:
        """Raised after a rejection that the prompt does not show: a greedy model would write the same plan again."""
        if request.complaint is not None and self._prompt is not full_prompt:
            return max(self._temperature, _REPAIR_TEMPERATURE)
        return self._temperature

    def _write_waiting(self) -> None:
        taken = []
        with suppress(Empty):
            while True:
                request, future = self._waiting.get_nowait()
                if future.set_running_or_notify_cancel():
                    taken.append((request, future))
        if taken:
            self._settle(taken)

    def _settle(self, taken: Sequence[tuple[PlanRequest, Future[str]]]) -> None:
        """Resolve all futures: a batch that fails is written one by one."""
        try:
            texts = self.write_many([request for request, _ in taken])
        except Exception as error:  # from torch, the tokenizer or the chat template
            if len(taken) > 1:
                for one in taken:
                    self._settle([one])
            else:
                taken[0][1].set_exception(PermanentError(f"checkpoint {self.name!r} could not write: {error}"))
            return
        for (_, future), text in zip(taken, texts, strict=True):
            future.set_result(text)
