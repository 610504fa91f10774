"""What a test of the wire may use."""

from __future__ import annotations

from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def anthropic() -> ModuleType:
    """The anthropic package, imported in seconds, and so only by the process that asks for it."""
    import anthropic

    return anthropic
