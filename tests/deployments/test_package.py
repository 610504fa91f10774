"""`fugu export` and `fugu adopt FILE`: the same decisions elsewhere, and every package that is refused, in one line."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import save

from models.evaluation.gate import Bound, Verdict
from models.evaluation.metrics import Interval
from models.fugu import package
from models.fugu.forward.backbone import Backbone
from models.fugu.forward.layout import layout_for
from models.fugu.head import HeadForm
from models.fugu.router import Router
from models.house import backbone as house_backbone
from models.ledger import registry
from tasks.comparing.judged import judged_by, keep, kept
from tasks.setup.router import serving_router
from tasks.setup.settings import load_pool, open_ledger

RECIPE = house_backbone.Recipe(layers=3, width=64, heads=2, key_value_heads=1, inner=64, vocabulary=512, lines=64)
NAMES = ("ant", "bee", "cat")
TEXTS = ["17 + 25?", "Prove it.", "Où est la bibliothèque ?", "def f(x):\n    return {", "!", "Which year was it?"]
KEY = "sk-of-the-worker-ant"


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return house_backbone.make(tmp_path_factory.mktemp("made"), RECIPE)


def pool_file(folder: Path, names: tuple[str, ...]) -> Path:
    shape = {"model": "openai/echo", "price": {}, "key_env": "ANT_KEY", "api_base": "http://127.0.0.1:1/v1"}
    headers = {"X-Team": "blue", "Authorization": "Bearer ${ANT_KEY}", "X-Own": "${ANT_KEY}"}
    workers = [{"name": name, **shape, "headers": headers} for name in names]
    path = folder / "animals.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"workers": workers}))
    return path


def router_of(folder: Path, layout: str, form: HeadForm | None, roles: bool) -> Router:
    backbone = Backbone.load(folder, device="cpu")
    blank = form or HeadForm()
    size = blank.size(3, 3 if roles else 0, backbone.width)
    draws = np.random.default_rng(5)
    offsets = layout_for(backbone.decoder, layout).offsets
    vector = draws.normal(0, 0.3, offsets + size).astype(np.float32)
    return Router(backbone, vector, NAMES, roles, layout, form=form)


@pytest.fixture
def exported(cli_home: Path, backbone: Path, run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Makes a home whose `fugu` is a router, exports that, and leaves an empty home with the same pool and backbone.
    Returns the file, its digest, and the router as it was."""
    monkeypatch.setenv("ANT_KEY", KEY)

    def make(layout: str = "late", form: HeadForm | None = None, roles: bool = True, judged: bool = True, **meta: Any):
        here, file = cli_home.parent, cli_home.parent / "router.fugu"
        monkeypatch.setenv("FUGU_POOL", str(pool_file(here, NAMES)))
        monkeypatch.setenv("FUGU_BACKBONE", str(backbone))
        router = router_of(backbone, layout, form, roles)
        assert run("status")[0] == 0  # makes the ledger
        ledger, pool = open_ledger(), load_pool()
        known = {"pool": pool.name, "kind": "warm", "preset": "first-light", "backbone": str(backbone)}
        checkpoint = registry.save_checkpoint(ledger, name="x", vector=router.vector, meta=router.meta | known | meta)
        registry.promote(ledger, "fugu", {"kind": "router", "checkpoint": checkpoint}, "test")
        ledger.close()
        if judged:
            bound = Bound("best single", "better than", Interval(0.031, 0.01, 0.052), True)
            keep(checkpoint, "fugu", judged_by(Verdict(True, "fugu (x): promoted", (bound,)), pool, "q" * 64, {}))
        status, out, err = run("export", "--to", str(file))
        assert status == 0, err
        shutil.move(cli_home, here / "exporting")
        return file, out.splitlines()[-1], router

    return make


@pytest.mark.parametrize(
    ("layout", "form", "roles"),
    [("late", None, True), ("head", HeadForm("tasks", tasks=2, anchors=4, damped=1), False), ("head", None, False)],
)
def test_an_adopted_package_decides_as_the_exported_router(run, exported, layout, form, roles) -> None:
    file, digest, router = exported(layout, form, roles)
    status, out, err = run("adopt", str(file), "--digest", digest, "--serve", "fugu")
    assert (status, err) == (0, "") and "over ant, bee, cat" in out and "fugu is served by it" in out
    assert "fugu: passed the gate on pool animals; better than best single: +0.0310 [+0.0100, +0.0520]" in out
    ledger = open_ledger()
    champion = registry.champion(ledger, "fugu")
    assert champion is not None and champion.reason == f"adopted: package {digest}"
    served = serving_router(registry.load_checkpoint(ledger, champion.target["checkpoint"]), ledger)
    ledger.close()
    assert served.digest == router.digest and served.backbone is not router.backbone
    router.fold()
    for text in TEXTS:
        for allowed in (None, ("ant", "cat")):
            before, after = (each.decide([{"role": "user", "content": text}], allowed) for each in (router, served))
            assert (after.worker, after.role, after.margin) == (before.worker, before.role, before.margin)


def test_a_package_is_a_candidate_until_it_is_told_to_serve(run, exported) -> None:
    file, digest, _ = exported()
    status, out, _ = run("adopt", str(file))
    assert status == 0 and digest in out and "as the newest router of kind warm" in out
    ledger = open_ledger()
    assert registry.champion(ledger, "fugu") is None and registry.champion(ledger, "trinity") is None
    found = registry.newest_checkpoint(ledger, kind="warm", pool="animals")
    assert found is not None and found.meta["workers"] == list(NAMES) and kept(found.id)["fugu"].promoted
    ledger.close()
    again = file.with_name("again.fugu")
    status, out, _ = run("export", found.id[:10], "--to", str(again))
    assert status == 0 and out.splitlines()[-1] == digest  # nothing was lost or added on the way
    assert again.read_bytes() == file.read_bytes()
    assert run("adopt", str(file), "--serve", "trinity", "--serve", "fugu")[0] == 0
    assert run("rollback", "fugu")[0] == 2  # there was nothing before


def test_a_package_holds_safetensors_and_json_and_no_key(run, exported) -> None:
    file, digest, _ = exported(judged=False)
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    assert list(members) == list(package.MAX_BYTES) and {Path(name).suffix for name in members} == {
        ".json",
        ".safetensors",
    }
    assert digest == f"sha256:{hashlib.sha256(members['manifest.json']).hexdigest()}"
    pool = json.loads(members["pool.json"])
    assert [worker["name"] for worker in pool["workers"]] == list(NAMES)
    assert pool["workers"][0]["key_env"] == "ANT_KEY" and pool["workers"][0]["headers"] == {
        "Authorization": "Bearer ${ANT_KEY}",
        "X-Own": "${ANT_KEY}",
    }
    assert json.loads(members["preset.json"])["name"] == "first-light"
    assert KEY.encode() not in file.read_bytes() and str(file.parent).encode() not in file.read_bytes()
    assert "no comparison of it is known" in run("adopt", str(file))[1]


def test_a_pool_that_holds_a_key_is_not_exported_nor_is_anything_to_where_no_file_can_be(
    run, exported, monkeypatch: pytest.MonkeyPatch, cli_home
) -> None:
    file, _, _ = exported()
    shutil.move(cli_home.parent / "exporting", cli_home)
    before = file.read_bytes()
    monkeypatch.setenv("ANT_KEY", "127.0.0.1:1/v1")  # stands in api_base
    status, _, err = run("export", "--to", str(file))
    assert status == 2 and "a key of worker 'ant'" in err and file.read_bytes() == before
    monkeypatch.setenv("ANT_KEY", KEY)
    status, _, err = run("export", "--to", str(file / "below"))
    assert status == 2 and "below: cannot be written: " in err and file.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fugu"], "fugu is served by the worker ant: only a router can be exported"),
        (["trinity"], "trinity has no champion yet"),
        (["00000"], "no checkpoint begins with '00000'"),
    ],
)
def test_what_is_no_router_is_not_exported(run, cli_home, tmp_path, monkeypatch, words, expected) -> None:
    monkeypatch.setenv("FUGU_POOL", str(pool_file(tmp_path, NAMES)))
    run("status")
    ledger = open_ledger()
    registry.promote(ledger, "fugu", {"kind": "worker", "worker": "ant"}, "test")
    ledger.close()
    status, _, err = run("export", *words, "--to", str(tmp_path / "x.fugu"))
    assert status == 2 and expected in err and not (tmp_path / "x.fugu").exists()


Members = dict[str, bytes]


def rewritten(file: Path, change: Callable[[Members], Any], *, listed: bool = True, **how: Any) -> None:
    """The package with other members; `listed`: its manifest names what they are now."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    if listed:
        manifest = json.loads(members["manifest.json"])
        manifest["members"] = {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for name, content in members.items()
            if name != "manifest.json"
        }
        members["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(file, "w", **how) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def meta(file: Path, **changes: Any) -> None:
    def change(members: Members) -> None:
        router = json.loads(members["router.json"])
        router["meta"] |= changes
        members["router.json"] = json.dumps(router).encode()

    rewritten(file, change)


def link(file: Path) -> None:
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning):
        info = zipfile.ZipInfo("pool.json")
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive.writestr(info, "/etc/passwd")


def twice(file: Path) -> None:
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning):
        archive.writestr("pool.json", "{}")


def vector(*numbers: float) -> bytes:
    return save({"vector": np.array(numbers, np.float32)})


def put(name: str, content: bytes, **how: Any) -> Callable[[Path], None]:
    return lambda file: rewritten(file, lambda members: members.update({name: content}), **how)


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "cut off": (lambda file: file.write_bytes(file.read_bytes()[:-200]), "cannot be read as a zip"),
    "a pickle": (lambda file: file.write_bytes(pickle.dumps({"vector": [1.0]})), "cannot be read as a zip"),
    "empty": (lambda file: file.write_bytes(b""), "cannot be read as a zip"),
    "a byte changed": (
        lambda file: file.write_bytes(file.read_bytes().replace(b"first-light", b"first-lighd")),
        "cannot be read as a zip",
    ),
    "a member changed": (put("preset.json", b"{}", listed=False), "preset.json is not what manifest.json says"),
    "a pickle inside": (put("router.safetensors", pickle.dumps([1.0])), "router.safetensors is no safetensors file"),
    "a pickle beside": (put("data.pkl", pickle.dumps([1.0])), "'data.pkl', which is no member of a package"),
    "a path above": (put("../pool.json", b"{}"), "'../pool.json', a path that leads out"),
    "a path from the root": (put("/etc/pool.json", b"{}"), "'/etc/pool.json', a path that leads out"),
    "a path of Windows": (put("..\\pool.json", b"{}"), "a path that leads out"),
    "a link": (link, "'pool.json', which is a link"),
    "a member twice": (twice, "holds pool.json twice"),
    "compressed": (put("preset.json", b"{}", compression=zipfile.ZIP_DEFLATED), "compressed or encrypted"),
    "too large": (put("preset.json", b" " * (1 << 17)), "preset.json of 131,072 bytes; the most is 65,536"),
    "one lacks": (lambda file: rewritten(file, lambda members: members.pop("preset.json")), "it lacks preset.json"),
    "not listed": (put("manifest.json", b'{"format": 1}', listed=False), "does not name the members"),
    "another format": (put("manifest.json", b'{"format": 2}', listed=False), "has the format 2"),
    "no JSON": (put("evidence.json", b"{"), "evidence.json is no JSON"),
    "deep JSON": (put("evidence.json", b"[" * 100_000), "evidence.json is no JSON"),
    "a key twice": (put("pool.json", b'{"a": 1, "a": 2}'), "the key 'a' appears twice"),
    "other evidence": (put("evidence.json", b'{"fugu": {"promoted": true}}'), "evidence.json: fugu.line"),
    "NaN": (put("router.safetensors", vector(1.0, float("nan"))), "NaN or infinite"),
    "a short vector": (put("router.safetensors", vector(1.0, 2.0)), "the vector has shape (2,)"),
    "two tensors": (
        put("router.safetensors", save({"vector": np.ones(1, np.float32), "b": np.ones(1, np.float32)})),
        "one flat tensor of float32",
    ),
    "float64": (put("router.safetensors", save({"vector": np.ones(1)})), "one flat tensor of float32"),
    "another backbone": (lambda file: meta(file, backbone_digest="0" * 64), "was learned on the backbone"),
    "no digest of it": (lambda file: meta(file, backbone_digest=None), "router.json: meta.backbone_digest"),
    "an unknown layout": (lambda file: meta(file, layout="deep"), "its router cannot be used"),
    "an unknown head": (lambda file: meta(file, head={"kind": "code"}), "its router cannot be used"),
    "a negative head": (lambda file: meta(file, head={"kind": "tasks", "tasks": -1}), "negative size"),
    "a worker that is not there": (
        lambda file: meta(file, workers=["ant", "dog", "eel"]),
        "pool 'animals' lacks 'dog', 'eel' of the package",
    ),
    "a worker twice": (lambda file: meta(file, workers=["ant", "bee", "bee"]), "every name once"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_package_is_one_sentence_and_leaves_nothing(run, exported, cli_home: Path, bad: str) -> None:
    file, _, _ = exported()
    change, expected = BAD[bad]
    change(file)
    status, out, err = run("adopt", str(file), "--serve", "fugu")
    assert (status, out) == (2, "") and expected in err and err.count("\n") == 1
    assert not (cli_home / "ledger.db").exists() and not (cli_home / "reports").exists()


def test_another_digest_and_options_of_trinity_are_refused(run, exported, cli_home: Path) -> None:
    file, digest, _ = exported("head", roles=False)
    status, _, err = run("adopt", str(file), "--digest", "sha256:" + "0" * 64)
    assert status == 2 and f"its digest is {digest}" in err
    assert "--workers and --fugu are for trinity" in run("adopt", str(file), "--fugu")[2]
    assert "are for packages" in run("adopt", "trinity", "--digest", digest)[2]
    assert "chooses no roles" in run("adopt", str(file), "--serve", "trinity")[2]
    assert "cannot be read: No such file" in run("adopt", str(file) + ".none")[2]
    assert not (cli_home / "ledger.db").exists()


def test_numbers_that_are_finite_and_give_no_decision_are_refused(run, exported) -> None:
    file, _, _ = exported("head", roles=False)
    put("router.safetensors", vector(*[3e38] * (3 * RECIPE.width)))(file)
    status, _, err = run("adopt", str(file))
    assert status == 2 and "its router cannot be used" in err


def test_over_another_order_of_the_pool_it_serves_and_no_flow_finds_it(run, exported, monkeypatch) -> None:
    file, _, _ = exported()
    monkeypatch.setenv("FUGU_POOL", str(pool_file(file.parent, ("dog", *reversed(NAMES)))))
    status, out, _ = run("adopt", str(file), "--serve", "trinity")
    assert status == 0 and "trinity is served by it" in out and "newest router" not in out
    ledger = open_ledger()
    assert registry.newest_checkpoint(ledger, kind="warm", pool="animals") is None
    ledger.close()


def test_a_worker_that_is_another_model_here_is_said(run, exported, monkeypatch) -> None:
    file, _, _ = exported()
    pool = Path(pool_file(file.parent, NAMES))
    pool.write_text(pool.read_text().replace("openai/echo", "openai/other"))
    assert "note: ant is openai/other here, and was 'openai/echo' where" in run("adopt", str(file))[1]
