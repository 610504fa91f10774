"""What measuring writes: a grade for every reply, 0 for a question that a worker refuses, nothing for an outage."""

from __future__ import annotations

import pytest

from models.errors import UpstreamRefused, UpstreamUnavailable
from models.evaluation import measure as measuring
from models.evaluation.measure import measure
from models.grading.question import Question
from models.ledger.epochs import open_epoch, put_questions
from models.ledger.labels import Cell, labels
from models.ledger.store import Ledger
from models.workers.ask import Reply
from models.workers.dispatch import Dispatcher
from models.workers.pool import Pool
from models.workers.retry import RetryPolicy

POOL = Pool.model_validate({"name": "p", "workers": [{"name": "w", "model": "house/calc"}]})


def question(id: str, reference: str = "4") -> Question:
    messages = ({"role": "user", "content": f"{id}: 2 + 2?"},)
    return Question(id=id, task="sums", messages=messages, grader="exact", reference=reference, split="train")


def put(ledger: Ledger, *some: Question) -> None:
    put_questions(ledger, "file", [q.model_dump(mode="json") | {"digest": q.digest, "body": {}} for q in some])


class Sender:
    """Answers "4", or raises what the question's text names."""

    async def complete(self, ask):
        text = ask.messages[-1]["content"]
        if "long" in text:
            raise UpstreamRefused("too long", 413)
        if "down" in text:
            raise UpstreamUnavailable("down")
        return Reply(worker=ask.worker, revision=ask.revision, text="4")


async def measured(ledger: Ledger, *some: Question) -> None:
    epoch = open_epoch(ledger, "p", "set")
    dispatcher = Dispatcher(ledger, POOL, Sender(), retry=RetryPolicy(tries=1))
    cells = [Cell(q.id, "w", "1", 0, epoch) for q in some]
    try:
        await measure(cells, {q.id: q for q in some}, ledger=ledger, dispatcher=dispatcher)
    finally:
        await dispatcher.close()


async def test_a_refused_question_scores_0_and_an_outage_is_no_sample(ledger):
    some = [question("right"), question("long"), question("down")]
    put(ledger, *some)
    with pytest.raises(UpstreamUnavailable):
        await measured(ledger, *some)
    scores = labels(ledger).set_index("question_id")["score"].to_dict()
    assert scores == {"right": 1.0, "long": 0.0}


async def test_a_label_is_of_the_question_that_was_asked_though_another_took_its_id_meanwhile(ledger):
    asked, other = question("q", "4"), question("q", "5")
    put(ledger, asked)
    put(ledger, other)  # another flow's file has a question of that id
    await measured(ledger, asked)
    assert labels(ledger).empty
    put(ledger, asked)
    assert labels(ledger)["score"].tolist() == [1.0]


async def test_a_reply_that_breaks_its_grader_loses_no_other_grade(ledger, monkeypatch) -> None:
    asked = [question("one"), question("odd"), question("two")]
    put(ledger, *asked)
    real = measuring.grade

    def grade(question: Question, text: str):
        if question.id == "odd":
            raise OverflowError("odd")
        return real(question, text)

    monkeypatch.setattr(measuring, "grade", grade)
    with pytest.raises(OverflowError):
        await measured(ledger, *asked)
    assert set(labels(ledger, pool="p")["question_id"]) == {"one", "two"}
