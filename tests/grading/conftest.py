"""What grading and isolation share stands in tests/conftest.py."""

import pytest
from hypothesis import settings

settings.register_profile("unhurried", deadline=None)  # a crowded machine is no failure
settings.load_profile("unhurried")


@pytest.fixture(autouse=True)
def laid_out(readable):
    """Every test here lays out files for another user."""
