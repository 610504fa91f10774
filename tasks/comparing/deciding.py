"""How long a router's decision takes: measured on conversations that no cache has read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from models.evaluation.latency import Latency, latency
from models.workers.ask import Message
from tasks.comparing.contenders import BY_TASK, ROWS
from tasks.comparing.recorded import Recorded, blank

if TYPE_CHECKING:
    from models.fugu.router import Router


def latencies(train: Recorded, test: Recorded, backbone: str) -> dict[str, Latency]:
    """Of both candidates, on questions of `test` that were perturbed (`Recorded.asked`)."""
    from models.fugu.learn.tasks import fit_tasks
    from models.fugu.router import Router

    rows = blank(backbone, train.workers)  # which numbers are in the rows does not change how long they take
    fitted = fit_tasks(train.part.features, train.part.scores, train.part.tasks, groups=train.groups)
    of = rows.workers, False, "head"
    routers = {ROWS: rows, BY_TASK: Router(rows.backbone, fitted.head.numbers(), *of, form=fitted.form)}
    found = {name: decision_latency(router, test.asked) for name, router in routers.items()}
    return {name: each for name, each in found.items() if each is not None}


def decision_latency(router: Router, conversations: Sequence[Sequence[Message]]) -> Latency | None:
    """Of one decision before the first turn, one conversation after the other, as an endpoint reads it; the endpoint's
    own work, and waiting for others, are not in it. None for too few conversations."""
    from models.fugu.rollout import first_transcript, options_of

    options = options_of(router)
    read = [first_transcript(_unread(each), len(router.workers), options) for each in conversations]
    return latency(router.decide, read, str(router.backbone.device))


def _unread(conversation: Sequence[Message]) -> list[Message]:
    """The conversation with a word in front that makes it new to the caches of states, keys and values."""
    first, *rest = conversation
    word, content = uuid4().hex[:8], first.get("content")
    text: Any = f"{word} {content}" if isinstance(content, str) else [{"type": "text", "text": word}, *(content or ())]
    return [{**first, "content": text}, *rest]
