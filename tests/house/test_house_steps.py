"""Workers as the workers of a workflow's steps: which question they take, and what they make of visible steps."""

import pytest

from models.conductor.plan.context import Done, messages_for, sampling_for
from models.conductor.plan.workflow import Step, Workflow
from models.house.workers import answer
from models.house.workers.reading import read_alone
from models.workers.ask import Sampling

CONVERSATION = [{"role": "user", "content": "Multiply the number of letters in 'banana' by 41717."}]
LETTERS = "The number of letters in 'banana' is 6."


def as_step(worker, subtask, *done, **context):
    """The reply of a step that sees all of `done`, subtasks with their replies."""
    steps = [Step(model=0, subtask=text, access=()) for text, _ in done]
    plan = Workflow(steps=(*steps, Step(model=0, subtask=subtask, access="all")))
    seen = {i: Done(index=i, subtask=text, reply=reply) for i, (text, reply) in enumerate(done)}
    return answer(worker, messages_for(CONVERSATION, plan, len(done), seen, **context))


def test_a_subtask_without_a_problem_of_its_own_leaves_the_question():
    assert as_step("lingua", "Count the letters of the word first.") == LETTERS


def test_a_subtask_that_poses_a_problem_is_the_question():
    assert as_step("calc", "What is 17 * 23?").endswith("Answer: 391")
    assert as_step("atlas", "Find the capital of Peru.").endswith("Answer: Lima")


def test_a_visible_reply_is_a_thought():
    assert as_step("calc", "Multiply the result.", ("Count the letters.", LETTERS)).endswith("Answer: 250302")


def test_a_visible_answer_to_just_the_first_problem_counts_as_its_result():
    done = ("How many letters does 'banana' have?", "Letter by letter.\nAnswer: 6")
    assert as_step("calc", "Multiply the result.", done).endswith("Answer: 250302")


def test_what_is_not_visible_is_not_known():
    assert "Answer" not in as_step("calc", "Multiply the result of step 1.")


def test_without_the_skill_a_visible_answer_is_repeated():
    assert as_step("atlas", "Give the final answer.", ("Do it.", "Answer: 144")).endswith("Answer: 144")


def test_memory_and_own_history_are_not_the_question():
    memory = [{"role": "user", "content": "Tool results known from earlier in this conversation:\nadd(1, 2) gave: 3"}]
    own = [
        {"role": "user", "content": "Earlier subtask of yours: What is 2 + 2?"},
        {"role": "assistant", "content": "Answer: 4"},
    ]
    assert as_step("lingua", "Count the letters first.", memory=memory, own=own) == LETTERS


def test_the_last_question_of_a_conversation_counts_and_turns_do_not():
    conversation = [
        {"role": "user", "content": "What is the capital of Peru?"},
        {"role": "assistant", "content": "Answer: Lima"},
        {"role": "user", "content": "What is 17 * 23?"},
    ]
    plan = Workflow(steps=(Step(model=0, subtask="Answer the question.", access=()),))
    turns = [{"role": "assistant", "content": None, "tool_calls": []}, {"role": "tool", "content": "5"}]
    assert answer("calc", messages_for(conversation, plan, 0, {}, turns=turns)).endswith("Answer: 391")


@pytest.mark.parametrize(
    "subtask",
    [
        "",
        "Find the capital of the country first.",
        "Find the number of letters in the word first.",
        "Count the letters of the result.",
        "Multiply the result of step 1 by 41717.",
        "Add the results of steps 1 and 2.",
        "Read the word, reverse it.",
        "Find the longest, then reverse it.",
        "Answer the user's last message.",
    ],
)
def test_a_subtask_that_leans_on_something_else_poses_no_problem(subtask):
    assert read_alone(subtask) is None


@pytest.mark.parametrize(
    ("subtask", "kind"),
    [
        ("Multiply 5 by 9.", "product"),
        ("Reverse 'banana'.", "reverse"),
        ("Find the longest of apple, river and stone.", "longest"),
        ("Name the author of Hamlet.", "author"),
    ],
)
def test_a_subtask_that_names_what_it_is_about_poses_one(subtask, kind):
    assert read_alone(subtask).kind == kind


@pytest.mark.parametrize("seed", [None, 5])
def test_best_of_several_on_one_worker_is_several_draws(seed):
    """Each equal step is sent a seed of its own, which a house worker's chance follows."""
    steps = [Step(model=0, subtask="Work it out by yourself.")] * 12
    plan = Workflow(steps=(*steps, Step(model=1, subtask="Judge.", access="all")))
    question = [{"role": "user", "content": "What is 4817 * 3921?"}]

    def drawn(index):
        sampling = sampling_for(Sampling(seed=seed), plan, index, f"/0#{index}")
        return answer("sage", messages_for(question, plan, index, {}), sampling.seed)

    assert len({drawn(index) for index in range(12)}) > 2
