import os

import pytest
from hypothesis import settings

from models.errors import IsolationUnavailable
from models.grading.question import Question

settings.register_profile("unhurried", deadline=None)  # a crowded machine is no failure
settings.load_profile("unhurried")


@pytest.fixture(autouse=True)
def readable():
    """What a test lays out is read by another user, in a process that made its own files private, too."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def ask():
    """A question with the given grader, reference and options."""

    def make(grader, reference=None, **options):
        messages = ({"role": "user", "content": "?"},)
        return Question(id="q", task="t", messages=messages, grader=grader, reference=reference, options=options)

    return make


@pytest.fixture(scope="session")
def isolated():
    """The isolation level of this machine; without one the graders refuse, and there is nothing to test."""
    from models.grading.sandbox import isolation

    try:
        return isolation()
    except IsolationUnavailable as error:
        pytest.skip(str(error))
