"""Routers from files: saved and loaded, made of a folder and a vector, with their factorisations kept."""

from __future__ import annotations

import json

import numpy as np
import pytest

from models.errors import BadFile, BadInput
from models.fugu import vector as vectors
from models.fugu.router import Router

WORKERS = ("ant", "bee", "cat")
ASKED = [{"role": "user", "content": "Reverse the word stone."}]


@pytest.fixture
def router(backbones, random_vector) -> Router:
    backbone = backbones("tied")
    return Router(backbone, random_vector(backbone, "late", len(WORKERS) + 3), WORKERS, layout="late")


def test_a_saved_router_decides_the_same(router, tmp_path):
    router.save(tmp_path / "router")
    for loaded in (Router.load(tmp_path / "router", router.backbone), Router.load(tmp_path / "router")):
        assert loaded.digest == router.digest and loaded.meta == router.meta
        assert loaded.decide(ASKED).worker == router.decide(ASKED).worker


def test_a_saved_router_is_not_loaded_with_another_backbone(router, backbones, tmp_path):
    router.save(tmp_path)
    with pytest.raises(BadInput, match="another backbone"):
        Router.load(tmp_path, backbones("untied"))


META = {"backbone": "x", "backbone_revision": None, "backbone_digest": "", "layout": "late", "roles": True}


@pytest.mark.parametrize(
    "text", ["", "[]", '{"backbone": "x"}', *(json.dumps({**META, "workers": bad}) for bad in (3, "ant", [3], None))]
)
def test_a_folder_that_holds_no_router_is_named(tmp_path, text):
    (tmp_path / "router.json").write_text(text)
    with pytest.raises(BadFile, match=r"router\.json"):
        Router.load(tmp_path)
    with pytest.raises(BadFile):
        Router.load(tmp_path / "nowhere")


def test_a_router_comes_from_a_folder_and_a_file(make_folder, router, texts, tmp_path):
    vectors.save(tmp_path / "v.npy", router.vector)
    again = Router.from_vector(make_folder("tied"), tmp_path / "v.npy", WORKERS, layout="late")
    np.testing.assert_allclose(again.logits(texts), router.logits(texts), atol=1e-5)


def test_factorisations_are_kept_where_the_caller_says_or_in_the_users_cache(make_folder, router, cache_home, tmp_path):
    router.save(tmp_path / "router")
    for cache, folder in ((None, cache_home / "fugu-flows" / "factors"), (tmp_path / "own", tmp_path / "own")):
        made = Router.from_vector(make_folder("tied"), router.vector, WORKERS, layout="late", cache=cache)
        kept = sorted(folder.iterdir())
        assert len(kept) == 7 and made.digest == router.digest
        before = [file.stat().st_mtime_ns for file in kept]
        Router.load(tmp_path / "router", cache=cache)
        assert [file.stat().st_mtime_ns for file in sorted(folder.iterdir())] == before


def test_a_cache_that_cannot_be_written_changes_nothing(make_folder, router, texts, tmp_path):
    (tmp_path / "taken").write_text("")
    made = Router.from_vector(make_folder("tied"), router.vector, WORKERS, layout="late", cache=tmp_path / "taken")
    np.testing.assert_allclose(made.logits(texts), router.logits(texts), atol=1e-5)
