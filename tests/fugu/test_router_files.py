"""Routers from files: made of a folder and a vector, with their factorisations kept."""

from __future__ import annotations

import numpy as np
import pytest

from models.fugu.router import Router

WORKERS = ("ant", "bee", "cat")


@pytest.fixture
def router(backbones, random_vector) -> Router:
    backbone = backbones("tied")
    return Router(backbone, random_vector(backbone, "late", len(WORKERS) + 3), WORKERS, layout="late")


def test_a_router_comes_from_a_folder_and_a_file(make_folder, router, texts, tmp_path):
    np.save(tmp_path / "v.npy", router.vector)
    again = Router.from_vector(make_folder("tied"), tmp_path / "v.npy", WORKERS, layout="late")
    np.testing.assert_allclose(again.logits(texts), router.logits(texts), atol=1e-5)


def test_factorisations_are_kept_where_the_caller_says_or_in_the_users_cache(make_folder, router, cache_home, tmp_path):
    for cache, folder in ((None, cache_home / "fugu-flows" / "factors"), (tmp_path / "own", tmp_path / "own")):
        made = Router.from_vector(make_folder("tied"), router.vector, WORKERS, layout="late", cache=cache)
        kept = sorted(folder.iterdir())
        assert len(kept) == 7 and made.digest == router.digest
        before = [file.stat().st_mtime_ns for file in kept]
        Router.from_vector(make_folder("tied"), router.vector, WORKERS, layout="late", cache=cache)
        assert [file.stat().st_mtime_ns for file in sorted(folder.iterdir())] == before


def test_a_cache_that_cannot_be_written_changes_nothing(make_folder, router, texts, tmp_path):
    (tmp_path / "taken").write_text("")
    made = Router.from_vector(make_folder("tied"), router.vector, WORKERS, layout="late", cache=tmp_path / "taken")
    np.testing.assert_allclose(made.logits(texts), router.logits(texts), atol=1e-5)
