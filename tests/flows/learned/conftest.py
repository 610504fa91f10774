"""One home in which `first_light` has run: dear to make, read by all tests of this folder."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def first_light_home(tmp_path_factory, small_data, use_home, prefect_server):
    """A home in which `first_light` has run once, and what it returned."""
    import asyncio

    from flows.first_light import first_light

    home = tmp_path_factory.mktemp("home")
    counter = home / "asked.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        use_home(home, small_data, patch)
        patch.setenv("FUGU_HOUSE_COUNTER", str(counter))
        lines = asyncio.run(first_light())
    return home, lines, counter
