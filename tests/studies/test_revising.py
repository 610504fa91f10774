"""The study of `trinity` against its one-ask variant counts verdicts, and its control keeps objections from SOLVERs."""

from __future__ import annotations

from revising import Watched

from models.fugu.roles import Note, Role, messages_for
from models.house.questions import generate
from models.workers.ask import Ask

QUESTION = next(q for q in generate(1, {"train": 40}) if q.task == "arithmetic")


def ask(role, notes=(), latest=None):
    messages = tuple(messages_for(role, QUESTION.messages, notes, latest))
    return Ask(scope="s", worker="calc", revision="1", messages=messages)


async def test_verdicts_are_counted_by_what_they_judge():
    pool = Watched([QUESTION])
    proposed = [f"Answer: {QUESTION.reference}", "Answer: 123456789", "No idea."]
    await pool.send([ask(Role.VERIFIER, latest=text) for text in proposed] + [ask(Role.SOLVER)])
    assert pool.verdicts == {(True, True): 1, (False, False): 2}


def test_the_control_keeps_objections_from_solvers_alone():
    notes = [Note(Role.SOLVER, 0, "Answer: 1"), Note(Role.VERIFIER, 0, "REJECT I get 2 instead.")]
    for deaf, heard in ((True, notes[:1]), (False, notes)):
        assert Watched([QUESTION], deaf)._heard(ask(Role.SOLVER, notes)) == ask(Role.SOLVER, heard)
    assert Watched([QUESTION], deaf=True)._heard(ask(Role.THINKER, notes)) == ask(Role.THINKER, notes)
