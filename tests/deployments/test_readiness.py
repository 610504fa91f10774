"""The test question of `fugu up`: what serves goes on where no worker can answer now, and a trial run ends."""

from __future__ import annotations

import pytest

from deployments.readiness import tried
from models.errors import PermanentError

NOBODY = "http://127.0.0.1:1"


def test_an_endpoint_that_cannot_answer_is_a_warning_in_one_line_or_the_end_of_a_trial():
    line = tried(NOBODY, "none", strict=False)
    assert line.startswith(f"warning: the endpoint at {NOBODY} did not answer: ") and "\n" not in line
    with pytest.raises(PermanentError, match="did not answer"):
        tried(NOBODY, "none", strict=True)
