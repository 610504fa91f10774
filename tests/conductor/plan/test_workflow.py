"""Plans in every spelling are read back, any other text is `Malformed`, and each finding of the linter is found."""

from __future__ import annotations

import ast
import itertools
import runpy
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.conductor.plan.workflow import (
    MAX_CHARS,
    Finding,
    Malformed,
    PlanLimits,
    Step,
    Workflow,
    lint,
    parse,
    pruned,
)
from tasks.setup.settings import PROJECT

PLANS = runpy.run_path(str(PROJECT / "tests/conductor/plans.py"))
SPELLING, Spelling, write, STEADY, TEXTS, WORKFLOWS, SPELLINGS = (
    PLANS[name] for name in ("SPELLING", "Spelling", "write", "STEADY", "TEXTS", "WORKFLOWS", "SPELLINGS")
)
PIECES = ["model_id", "subtasks", "access_list", "all", "=", ":", "[", "]", "'", '"', "'''", "“", "”", ",", "0"]
PIECES += ["#", "```", "\\", " ", "\n", "\0", "\ud800"]
ONE = "model_id = [0]\nsubtasks = ['one']\naccess_list = [[]]\n"


def step(model=0, subtask="do it", access=()):
    return Step(model=model, subtask=subtask, access=access)


def plan(*steps):
    return Workflow(steps=steps)


def access_of(text):
    found = parse(f"model_id = [0]\nsubtasks = ['a']\naccess_list = [{text}]")
    assert isinstance(found, Workflow), found
    return found.steps[0].access


def text_of(written):
    found = parse(f"model_id = [0]\nsubtasks = [{written}]\naccess_list = [[]]")
    assert isinstance(found, Workflow), found
    return found.steps[0].subtask


@STEADY
@given(WORKFLOWS, SPELLINGS)
def test_a_plan_in_any_spelling_is_read_back_as_it_was(workflow, spelling):
    assert parse(write(workflow, spelling)) == workflow


def test_every_combination_of_quotes_names_signs_and_wraps_is_read():
    workflow = plan(step(2, 'it\'s "so", naïve\n[x]', "all"), step(0, "the poem's end", ()), step(1, "b", (0, 1)))
    axes = SPELLING["QUOTES"], SPELLING["NAMES"], SPELLING["SIGNS"], SPELLING["MODELS"], ["none", "fence", "object"]
    for quote, name, sign, model, wrap in itertools.product(*axes):
        spelling = Spelling(quote=quote, name=name, sign=sign, model=model, wrap=wrap)
        assert parse(write(workflow, spelling)) == workflow, spelling


def test_two_thousand_completions_most_of_them_damaged_are_a_workflow_or_malformed():
    for seed in range(2000):
        text, workflow = SPELLING["completion"](seed)
        found = parse(text)
        assert isinstance(found, Workflow | Malformed)
        if workflow is not None:
            assert found == workflow, seed
        if isinstance(found, Workflow):
            found.model_dump_json().encode()
        else:
            found.reason.encode()


@STEADY
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=2), max_size=60).map("".join))
def test_any_text_is_a_workflow_or_malformed(text):
    assert isinstance(parse(text), Workflow | Malformed)


@pytest.mark.parametrize(
    ("text", "access"),
    [
        ("[]", ()),
        ("None", ()),
        ("null", ()),
        ("[None]", ()),
        ('"all"', "all"),
        ("['All']", "all"),
        ("[all]", "all"),
        ("[0, 'all']", "all"),
        ("3", (3,)),
        ("'3'", (3,)),
        ("[2, 0, 2,]", (2, 0)),
    ],
)
def test_each_form_of_an_access_entry_is_read(text, access):
    assert access_of(text) == access


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (r"'it\'s'", "it's"),
        (r'"\u00e9\ud83c\udfbb\x41\U0001F600\/\q"', "é🎻A😀/\\q"),
        (r"r'\d\n'", r"\d\n"),
        ("'''a 'b' c'''", "a 'b' c"),
        ('"""\n  many\n  lines\n"""', "\n  many\n  lines\n"),
        ("'a'\n  'b'", "ab"),
        ("'the poem's title', # and a comment\n", "the poem's title"),
        ("“so ‘called’, maybe”", "so ‘called’, maybe"),
        ("'raw\nline'", "raw\nline"),
        ("'model_id = [3]'", "model_id = [3]"),
        ("'''\nmodel_id = [3]\nsubtasks = ['x']\n'''", "\nmodel_id = [3]\nsubtasks = ['x']\n"),
        ("'half \ud83c and \0'", "half \ufffd and \ufffd"),
        (r"'half \udfbb'", "half \ufffd"),
    ],
)
def test_texts_are_read_as_they_were_meant(written, text):
    assert text_of(written) == text


@STEADY
@given(TEXTS)
def test_pythons_own_spelling_means_what_it_means_in_python(text):
    for written in (repr(text), repr(text) + " ", f"{text!a}"):
        assert text_of(written) == ast.literal_eval(written.strip())


def test_three_empty_lists_are_a_workflow_without_steps():
    assert parse("model_id = []\nsubtasks: []\naccess_list=[ ]") == Workflow(steps=())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "there is no list model_id"),
        ("model_id = [0]\nsubtasks = ['a']", "there is no list access_list"),
        ("model_id = 0\nsubtasks = ['a']\naccess_list = [[]]", "there is no list model_id"),
        (ONE.replace("[0]", "[0, 1]"), "model_id has 2, subtasks has 1, access_list has 1"),
        (ONE.replace("[0]", "['GPT']"), "model_id: entry 0 (counted from 0) is not a model's number"),
        (ONE.replace("[0]", "[0.5]"), "model_id: an entry that is no text, number or list"),
        (ONE.replace("[0]", "[True]"), "model_id: an entry that is no text, number or list"),
        (ONE.replace("'one'", "7"), "subtasks: entry 0"),
        (ONE.replace("[[]]", "[['x']]"), "access_list: entry 0"),
        (ONE.replace("[[]]", "[[[0]]]"), "access_list: a list too deep"),
        (ONE.replace("'one'", "'one"), "subtasks: a text whose quote is not closed"),
        (ONE.replace("'one'", "open('x').read()"), "subtasks: an entry that is no text"),
        (ONE.replace("[0]", "[0 1]"), "model_id: a comma"),
        (ONE.replace("[0]", f"[{'9' * 10_000}]"), "model_id: an entry"),
        (f"model_id = [{'0,' * 65}]", "no list subtasks"),
        (f"model_id = [{'0,' * 65}] {ONE[13:]}", "model_id: more than 64 entries"),
    ],
)
def test_what_is_no_plan_is_malformed_and_the_reason_says_why(text, reason):
    found = parse(text)
    assert isinstance(found, Malformed) and reason in found.reason


@pytest.mark.parametrize(
    ("text", "code", "at"),
    [
        ("", "missing-list", None),
        (ONE.replace("[0]", "[0, 1]"), "unequal-lengths", 1),
        (ONE.replace("[[]]", "[]"), "unequal-lengths", 0),
        (ONE.replace("'one'", "'one"), "unreadable-list", None),
        (ONE.replace("'one'", "'one', 7"), "unreadable-entry", 1),
    ],
)
def test_what_is_no_plan_has_a_code_and_names_the_step_that_lacks_something(text, code, at):
    found = parse(text)
    assert isinstance(found, Malformed) and (found.code, found.step) == (code, at)


def test_sixty_four_entries_are_read():
    assert parse(write(plan(*[step()] * 64), Spelling())) == plan(*[step()] * 64)


HUGE = 10_000_000


@pytest.mark.parametrize(
    "text",
    ["[" * HUGE, "model_id = [" * (HUGE // 12), "subtasks = ['" + "\\" * HUGE, "'" * HUGE, "\0\ud800" * (HUGE // 2)],
    ids=["brackets", "names", "backslashes", "quotes", "no characters"],
)
def test_ten_megabytes_of_anything_are_refused_at_once(text):
    started = time.process_time()
    assert isinstance(parse(text), Malformed)
    assert time.process_time() - started < 5


def test_of_a_text_that_is_too_long_the_end_is_read():
    assert parse("." * MAX_CHARS + ONE) == parse(ONE)
    assert isinstance(parse(ONE + "." * MAX_CHARS), Malformed)


def test_a_step_sees_earlier_steps_only_whatever_its_list_says():
    workflow = plan(step(access="all"), step(access=(1, 2, 0, -1, 7)), step(access="all"))
    assert [workflow.sees(index) for index in range(3)] == [(), (0,), (0, 1)]


def found_in(workflow, **options):
    findings = lint(workflow, **{"allowed": [True, False, True], "limits": PlanLimits(3, 20)} | options)
    return [(finding.code, finding.step, finding.fatal) for finding in findings]


@pytest.mark.parametrize(
    ("workflow", "finding"),
    [
        (plan(), ("no-steps", None, True)),
        (plan(*[step(access="all")] * 4), ("too-many-steps", 3, True)),
        (plan(step(), step(3, access="all")), ("unknown-model", 1, True)),
        (plan(step(-1)), ("unknown-model", 0, True)),
        (plan(step(1)), ("masked-model", 0, True)),
        (plan(step(access=(0,))), ("forward-reference", 0, True)),
        (plan(step(access=(1,)), step(access="all")), ("forward-reference", 0, True)),
        (plan(step(), step(access=(0, 9))), ("forward-reference", 1, True)),
        (plan(step(access=(-1,))), ("forward-reference", 0, True)),
        (plan(step(subtask=" \n")), ("empty-subtask", 0, True)),
        (plan(step(subtask="x" * 21)), ("long-subtask", 0, True)),
        (plan(step(), step()), ("unread-step", 0, False)),
    ],
)
def test_each_fault_is_found_and_its_step_named(workflow, finding):
    assert found_in(workflow) == [finding]
    found = lint(workflow, allowed=[True, False, True], limits=PlanLimits(3, 20))[0]
    if found.step is not None:
        assert (
            found.complaint.startswith(f"step {found.step} (counted from 0): ")
            and f"step {found.step + 1}: " in found.numbered_message
        )


def test_a_sound_plan_has_no_findings_and_an_empty_one_may_accept():
    assert found_in(plan(step(), step(2), step(0, access=(0, 1)))) == []
    assert found_in(plan(), accepting=True) == []


def test_the_worst_case_counts_every_step_that_is_read():
    workflow = plan(step(0, "ab"), step(0, "unread"), step(2, "é", (0,)))
    asked = []

    def worst_usd(whole, index):
        asked.append((whole, index))
        return 0.5

    options = {"worst_usd": worst_usd}
    assert found_in(workflow, max_usd=0.9, **options) == [("too-expensive", None, True), ("unread-step", 1, False)]
    assert asked == [(workflow, 0), (workflow, 2)]
    assert found_in(workflow, max_usd=1.0, **options) == [("unread-step", 1, False)]


def test_a_plan_that_cannot_be_priced_is_not_priced():
    assert found_in(plan(step(9)), worst_usd=lambda *_: 1 / 0, max_usd=1.0) == [("unknown-model", 0, True)]


def test_steps_that_nobody_reads_are_pruned_and_references_follow():
    workflow = plan(step(0, "a"), step(1, "b"), step(2, "c", (0,)), step(3, "d", (1,)), step(4, "e", (2, 0)))
    kept, remaining = pruned(workflow)
    assert remaining == (0, 2, 4)
    assert kept == plan(step(0, "a"), step(2, "c", (0,)), step(4, "e", (1, 0)))
    assert pruned(plan()) == (plan(), ())


@STEADY
@given(WORKFLOWS)
def test_pruning_keeps_the_answer_and_what_each_kept_step_sees(workflow):
    kept, remaining = pruned(workflow)
    assert len(remaining) == len(kept.steps) and list(remaining) == sorted(set(remaining))
    if workflow.steps:
        assert remaining[-1] == len(workflow.steps) - 1
    for new, old in enumerate(remaining):
        assert tuple(remaining[i] for i in kept.sees(new)) == workflow.sees(old)
    assert pruned(kept) == (kept, tuple(range(len(kept.steps))))
    assert Finding("unread-step", 0, "", False) not in lint(kept, allowed=[True] * 100, limits=PlanLimits())
