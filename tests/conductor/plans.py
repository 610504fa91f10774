"""Plans and their spellings, for tests of the parser (loaded by path: tests import nothing from each other)."""

import runpy

from hypothesis import settings
from hypothesis import strategies as st

from models.conductor.plan.workflow import Step, Workflow
from tasks.setup.settings import PROJECT

SPELLING = runpy.run_path(str(PROJECT / "tests/benchmarks/spelling.py"))
Spelling, write = SPELLING["Spelling"], SPELLING["write"]
STEADY = settings(deadline=None, derandomize=True, max_examples=300)

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
ACCESS = st.one_of(st.just("all"), st.lists(st.integers(0, 9), max_size=3, unique=True).map(tuple))
STEPS = st.builds(Step, model=st.integers(-2, 99), subtask=TEXTS, access=ACCESS)
WORKFLOWS = st.builds(Workflow, steps=st.lists(STEPS, max_size=8).map(tuple))
SPELLINGS = st.builds(
    Spelling,
    quote=st.sampled_from(list(SPELLING["QUOTES"])),
    name=st.sampled_from(list(SPELLING["NAMES"])),
    sign=st.sampled_from(SPELLING["SIGNS"]),
    model=st.sampled_from(list(SPELLING["MODELS"])),
    order=st.permutations(("model_id", "subtasks", "access_list")).map(tuple),
    rows=st.booleans(),
    trailing=st.booleans(),
    short=st.booleans(),
    wrap=st.sampled_from(["none", "fence", "object"]),
    noise=st.tuples(*[st.sampled_from(SPELLING["NOISE"])] * 3),
)
