import pytest


@pytest.fixture(autouse=True)
def laid_out(readable):
    """Every test here lays out files for another user."""
