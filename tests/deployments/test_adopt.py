"""`fugu adopt trinity`, on made weights and cases of the released ones' form: what is seated, and what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from models.fugu.forward.backbone import Backbone
from models.fugu.forward.layout import layout_for
from models.fugu.loop import loop
from models.fugu.rollout import options_of
from models.fugu.router import Router
from models.house import backbone as house_backbone
from models.ledger import registry
from tasks.setup.checkpoint import seat, serving
from tasks.setup.router import load_router
from tasks.setup.settings import load_pool, open_ledger

AGENTS = [f"agent-{i}" for i in range(7)]
NAMES = [f"w{i}" for i in range(9)]
DISPATCHER = "You route work. Solve, plan or check?"
RECIPE = house_backbone.Recipe(layers=3, width=64, heads=2, key_value_heads=1, inner=64, vocabulary=512, lines=64)


@pytest.fixture
def home(cli_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with the files of a tiny released router, the catalog that pins them, and a pool of nine workers."""
    data, target = tmp_path / "data", cli_home / "trinity"
    (data / "pools").mkdir(parents=True)
    workers = [{"name": name, "model": f"openai/{name}", "price": {}} for name in NAMES]
    (data / "pools" / "nine.yaml").write_text(yaml.safe_dump({"workers": workers}))
    target.mkdir(parents=True)
    shutil.copytree(house_backbone.make(tmp_path, RECIPE), target / "backbone")
    backbone = Backbone.load(target / "backbone", device="cpu")
    draws, layout = np.random.default_rng(3), layout_for(backbone.decoder, "released")
    vector = draws.normal(0, 0.1, layout.length(10, backbone.width)).astype(np.float32)
    np.save(target / "vector.npy", vector)
    talks = [[{"role": "user", "content": text}] for text in ("17 + 25?", "Prove it.", "Which role is next?")]
    talks[2].insert(0, {"role": "system", "content": DISPATCHER})
    cases = [
        {"id": f"case {i}", "messages": talk, "expected": {"agent_id": d.worker_index, "role_id": int(d.role)}}
        for i, (talk, d) in enumerate(zip(talks, Router(backbone, vector, AGENTS).decide_many(talks), strict=True))
    ]
    (target / "cases.json").write_text(json.dumps({"cases": cases}))
    names = [path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()]
    digests = {name: hashlib.sha256((target / name).read_bytes()).hexdigest() for name in names}
    files = {
        name: {"from": [{"url": f"http://127.0.0.1:1/{name}"}], "sha256": digest} for name, digest in digests.items()
    }
    entry = {"workers": AGENTS, "dispatcher": "case 2", "files": files}
    (data / "catalog.yaml").write_text(yaml.safe_dump({"trinity": entry}))
    monkeypatch.setenv("FUGU_DATA", str(data))
    monkeypatch.setenv("FUGU_POOL", "nine")
    return cli_home


def test_the_released_router_is_seated_over_seven_named_workers_in_its_own_form(run, home: Path) -> None:
    assert run("fetch", "trinity")[0] == 0 and run("verify", "trinity")[0] == 0
    seven = ["w8", *NAMES[:6]]
    status, out, err = run("adopt", "trinity", "--workers", ",".join(seven))
    assert (status, err) == (0, "") and "3 cases: worker right in 3, role in 3" in out
    assert "trinity is served by the released router over w8, w0" in out
    ledger = open_ledger()
    assert registry.champion(ledger, "fugu") is None
    champion = registry.champion(ledger, "trinity")
    assert champion is not None
    router = load_router(registry.load_checkpoint(ledger, champion.target["checkpoint"]))
    ledger.close()
    assert router.workers == tuple(seven) and router.roles and router.released == DISPATCHER
    first = next(loop([{"role": "user", "content": "Hi"}], 7, options_of(router)))
    assert list(first.messages) == [{"role": "system", "content": DISPATCHER}, {"role": "user", "content": "Hi"}]


def test_it_may_serve_fugu_too(run, home: Path) -> None:
    assert run("adopt", "trinity", "--workers", ",".join(NAMES[:7]), "--fugu")[0] == 0
    ledger, pool = open_ledger(), load_pool("nine")
    assert serving(ledger, "fugu", pool) is not None and serving(ledger, "trinity", pool) is not None
    assert seat(ledger, pool) is None  # as `fugu up` asks
    ledger.close()
    ledger = open_ledger()
    seated = [registry.champion(ledger, model) for model in ("fugu", "trinity")]
    ledger.close()
    assert seated[0] is not None and seated[1] is not None and seated[0].target == seated[1].target


@pytest.mark.parametrize(
    ("workers", "expected"),
    [
        (NAMES[:6], "needs 7 workers, for agent-0, agent-1"),
        ([*NAMES[:6], "w0"], "every name once"),
        ([*NAMES[:6], "who"], "unknown worker 'who'"),
        ([], "unknown worker 'agent-0'"),
    ],
)
def test_other_workers_are_refused_and_nothing_is_seated(run, home: Path, workers: list[str], expected: str) -> None:
    status, _, err = run("adopt", "trinity", "--workers", ",".join(workers))
    assert status == 2 and expected in err and err.count("\n") == 1
    assert not (home / "ledger.db").exists()


def test_a_router_that_is_not_there_or_not_faithful_is_not_seated(run, home: Path) -> None:
    seven = ",".join(NAMES[:7])
    path, catalog = home / "trinity" / "cases.json", Path(home.parent / "data" / "catalog.yaml")
    cases = json.loads(path.read_text())
    for case in cases["cases"]:
        case["expected"]["agent_id"] = (case["expected"]["agent_id"] + 1) % 7
    path.write_text(json.dumps(cases))
    status, _, err = run("adopt", "trinity", "--workers", seven)
    assert status == 2 and "cases.json" in err and "sha256" in err
    entry = yaml.safe_load(catalog.read_text())
    entry["trinity"]["files"]["cases.json"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    catalog.write_text(yaml.safe_dump(entry))
    status, out, _ = run("adopt", "trinity", "--workers", seven)
    assert status == 1 and "worker right in 0" in out
    (home / "trinity" / "vector.npy").unlink()
    status, _, err = run("adopt", "trinity", "--workers", seven)
    assert status == 2 and "vector.npy (fetch trinity gets them)" in err
    assert not (home / "ledger.db").exists()


@pytest.mark.parametrize("name", ["case 0", "no case"])
def test_a_catalog_whose_prompt_is_not_in_the_cases_is_one_line(run, home: Path, name: str) -> None:
    catalog = Path(home.parent / "data" / "catalog.yaml")
    entry = yaml.safe_load(catalog.read_text())
    entry["trinity"]["dispatcher"] = name
    catalog.write_text(yaml.safe_dump(entry))
    status, _, err = run("adopt", "trinity", "--workers", ",".join(NAMES[:7]))
    assert status == 2 and f"holds no case '{name}' with a system message" in err
