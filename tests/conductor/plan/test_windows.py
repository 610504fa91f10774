"""Lists in drafts, remarks and earlier plans are no part of a plan, in whatever order and spelling it stands."""

from __future__ import annotations

import runpy
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.conductor.plan.lists import NAMES
from models.conductor.plan.workflow import Step, Workflow, parse
from tasks.setup.settings import PROJECT

PLANS = runpy.run_path(str(PROJECT / "tests/conductor/plans.py"))
SPELLING, write, STEADY, STEPS, WORKFLOWS, SPELLINGS = (
    PLANS[name] for name in ("SPELLING", "write", "STEADY", "STEPS", "WORKFLOWS", "SPELLINGS")
)
ONE = "model_id = [0]\nsubtasks = ['one']\naccess_list = [[]]\n"
TWO = "model_id = [1]\nsubtasks = ['two']\naccess_list = [[]]\n"


def step(model=0, subtask="do it", access=()):
    return Step(model=model, subtask=subtask, access=access)


def plan(*steps):
    return Workflow(steps=steps)


@STEADY
@given(
    st.sampled_from(SPELLING["DRAFTS"]),
    st.lists(STEPS, min_size=1, max_size=3).map(lambda steps: plan(*steps)),
    SPELLINGS,
    st.booleans(),
)
def test_lists_that_a_plan_was_thought_about_with_are_no_part_of_it(draft, workflow, spelling, remarks):
    order = NAMES if remarks else spelling.order
    noise = spelling.noise if remarks else ("", "", "")
    assert parse(write(workflow, replace(spelling, before=draft, order=order, noise=noise))) == workflow


@STEADY
@given(st.lists(STEPS, min_size=2, max_size=2).map(lambda steps: plan(*steps)), SPELLINGS)
def test_a_remark_after_a_plan_takes_nothing_of_it(workflow, spelling):
    text = write(workflow, replace(spelling, order=NAMES))
    remark = "Where model_id = [5, 5] would be dear, and access_list = ['all', 'all'] too."
    assert parse(f"{text}\n{remark}") == workflow


@STEADY
@given(st.lists(st.tuples(WORKFLOWS, SPELLINGS), min_size=2, max_size=3))
def test_of_several_whole_plans_the_last_one_counts_in_whatever_order_their_lists_are(written):
    text = "\nNo, better:\n".join(write(*one) for one in written)
    assert parse(text) == written[-1][0]


TWO_STEPS = "model_id = [3, 4]\nsubtasks = ['p', 'q']\naccess_list = [[], [0]]"


@pytest.mark.parametrize(
    "text",
    [
        "An access_list = ['all', 'all'] would let both see each other. " + TWO_STEPS,
        "Draft: subtasks=['x', 'y'], access_list=[[], []]\n" + TWO_STEPS,
        "Draft: subtasks=['x', 'y'], access_list=[[], []]\nSo: " + TWO_STEPS.replace("\n", ", and then "),
        "First model_id = [9, 9], subtasks = ['x', 'y'].\n" + TWO_STEPS,
        TWO_STEPS.replace("subtasks", "An access_list = ['all', 'all'] would hide nothing.\nsubtasks"),
        TWO_STEPS + "\nThat is model_id = [9, 9] no more, nor access_list = ['all', 'all'].",
        "Perhaps subtasks = ['x', 'y'] with access_list = [[], []]?\n" + TWO_STEPS + "\nNot model_id = [9, 9].",
    ],
)
def test_a_list_in_a_remark_is_no_part_of_the_plan(text):
    assert parse(text) == plan(step(3, "p"), step(4, "q", (0,)))


@pytest.mark.parametrize(
    ("text", "subtask"),
    [
        (ONE + TWO, "two"),
        (ONE + "No.\n" + TWO[:-20], "one"),
        (ONE + "model_id = [1, 2]\nsubtasks = ['unclosed]\naccess_list = [[]]", "one"),
        ("model_id = [3]\nsubtasks = ['lost'\n" + TWO, "two"),
        ("subtasks = ['lost, which never closes\n" + TWO, "two"),
        ("subtasks = '''lost\n" + TWO + 'subtasks = ["""lost too', "two"),
        (ONE.replace("access_list", "so access_list: ['all'], no: []\naccess_list"), "one"),
        ("With access_list: ['all'] or [0, 1]? " + ONE, "one"),
        (ONE.replace("\n", " ") + "better: subtasks = ['three']", "one"),
        ("model_id = [0]\nsubtasks = ['a', 'b']\naccess_list = [[]]\nI mean subtasks = ['three']", "three"),
        (ONE + "Where model_id = [0] is the writer and access_list = [[]] keeps it alone.", "one"),
        (ONE + "(The form is model_id = [...], subtasks = [...], access_list = [...].)", "one"),
    ],
)
def test_the_last_complete_plan_counts(text, subtask):
    found = parse(text)
    assert isinstance(found, Workflow) and [each.subtask for each in found.steps] == [subtask]
    assert [each.access for each in found.steps] == [()]
