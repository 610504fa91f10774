"""The first hour of somebody with workers of their own, through the programs that are started for it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import openai
import pytest
import yaml
from answering import answering
from desk import Desk, Up, serving, worker

from deployments.home import secret
from deployments.server import credentials
from models.ledger import registry
from models.ledger.store import Ledger
from models.workers.pool import Pool
from tasks.setup.checkpoint import is_unmeasured, seat
from tasks.setup.settings import PROJECT

README = "".join(
    f"{line}\n" for line in (PROJECT / "README.md").read_text().splitlines() if line.startswith('{"id": "q')
)
"""The two example questions, as printed."""

pytestmark = pytest.mark.programs


KNOWN = {"What is 17 * 23?": "391", "Capital of Peru?": "Lima"}

PRESET = {
    "questions": {"train": 8, "validation": 4, "test": 4, "unseen": 4},
    "repeats": 1,
    "backbone": {"size": "tiny", "lines": 200},
    "layout": "head",
    "evolution": {
        "population": 4, "generations": 2, "questions": 8, "validation": 8, "rank": 4, "subspace_generations": 1
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("desk")
    models: dict[str, Callable[[str], str]] = {
        "slow": lambda text: f"slow says {text}",
        "quick": lambda text: KNOWN.get(text, f"quick says {text}"),
    }
    with answering(models) as (url, asked):
        pool = {"workers": [worker("slow", url, 3.0), worker("quick", url, 1.0)]}
        (folder / "my.yaml").write_text(yaml.safe_dump(pool))
        (folder / "readme.jsonl").write_text(README)
        yield Desk(folder, url, asked)


@pytest.fixture(scope="module")
def up(desk: Desk, prefect_database: Path) -> Iterator[Up]:
    """`fugu up --pool my.yaml`, without questions."""
    with serving(desk, prefect_database, "--pool", "my.yaml") as up:
        yield up


def test_a_pool_without_questions_serves_at_once_by_its_first_worker(desk: Desk, up: Up) -> None:
    assert "nothing was measured: worker 'slow' answers" in up.said
    assert "there are no questions: nothing is measured or learned" in up.said and "is scheduled" not in up.said
    ready = httpx.get(f"{up.endpoint}/readyz")
    assert ready.status_code == 200 and ready.json()["ready"] is True
    with openai.OpenAI(base_url=f"{up.endpoint}/v1", api_key="none", max_retries=0) as client:
        for model in ("fugu", "trinity"):
            reply = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "well?"}])
            assert (reply.choices[0].message.content or "").strip() == "slow says well?"
    assert desk.asked["quick"] == 0


def test_nothing_is_learned_without_questions(desk: Desk, up: Up) -> None:
    begun = {"flow_runs": {"state": {"type": {"any_": ["RUNNING", "COMPLETED"]}}}}
    assert _prefect(desk, up, "flow_runs/filter", begun) == []


def test_a_refresh_without_a_limit_ends_well_and_its_page_says_what_it_left(desk: Desk, up: Up) -> None:
    flow = {"deployments": {"name": {"any_": ["measure-nightly"]}}}
    [nightly] = _prefect(desk, up, "deployments/filter", flow)
    given = {"questions": str(desk.folder / "readme.jsonl"), "max_usd": 0}
    before = desk.asked.total()
    run = _prefect(desk, up, f"deployments/{nightly['id']}/create_flow_run", {"parameters": given})
    deadline = time.monotonic() + 90
    while (state := _prefect(desk, up, f"flow_runs/{run['id']}")["state"])["type"] not in ("COMPLETED", "FAILED"):
        assert time.monotonic() < deadline, state
        time.sleep(0.2)  # another process runs it, which can only be asked for
    assert state["type"] == "COMPLETED", state
    wanted = {"artifacts": {"key": {"any_": ["labels-left"]}}}
    [page] = _prefect(desk, up, "artifacts/filter", wanted)
    assert "4 attempts were left" in page["data"] and "slow 2, quick 2" in page["data"]
    assert desk.asked.total() == before


def _prefect(desk: Desk, up: Up, path: str, body: dict[str, object] | None = None) -> object:
    headers = credentials(secret(desk.folder / "home"))
    url = f"{up.prefect}/api/{path}"
    reply = httpx.get(url, headers=headers) if body is None else httpx.post(url, json=body, headers=headers)
    return reply.raise_for_status().json()


def test_the_endpoint_on_an_empty_home_says_in_one_line_what_is_missing(desk: Desk) -> None:
    empty = desk._replace(folder=desk.folder / "new")
    empty.folder.mkdir()
    process = empty.start("-m", "deployments.endpoint", "--port", "0")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 2 and not (empty.folder / "home").exists()
    begin = "`fugu up` makes the ledger and lets a worker or a router serve"
    assert out == f"the home {empty.folder / 'home'} is empty: {begin}\n"


@pytest.mark.parametrize("words", [["questions", "check", "bad.jsonl"], ["up", "--once", "--questions", "bad.jsonl"]])
def test_questions_that_nothing_can_be_learned_from_are_refused_before_anything_starts(desk: Desk, words) -> None:
    new = desk._replace(folder=desk.folder / "refused" / words[0])
    new.folder.mkdir(parents=True)
    (new.folder / "bad.jsonl").write_text(README.splitlines()[1])
    status, out = new.fugu(*words, "--pool", str(desk.folder / "my.yaml"))
    assert status == 2 and len(out.splitlines()) == 1
    assert "bad.jsonl: 1 question, none of split 'train'" in out
    assert not (new.folder / "home" / "logs").exists()


def test_the_readmes_questions_are_looked_at_before_they_cost_anything(desk: Desk) -> None:
    before = desk.asked.total()
    status, out = desk.fugu("questions", "check", "readme.jsonl", "--pool", "my.yaml")
    assert status == 0 and desk.asked.total() == before
    assert "2 questions: 1 train, 1 test" in out and "graders: exact 1, number 1" in out
    assert "± 0.45" in out and "4 attempts are missing: measuring costs at most $" in out
    assert "warning: no question is left to validate with" in out


def test_init_writes_a_pool_checks_it_and_offers_questions_with_their_cost(desk: Desk) -> None:
    before = Counter(desk.asked)
    words = ["init", "--file", "made.yaml", "--api-base", desk.url, "--price", "1", "2", "--starter"]
    status, out = desk.fugu(*words)
    assert status == 0, out
    made = yaml.safe_load((desk.folder / "made.yaml").read_text())["workers"]
    assert [(worker["name"], worker["model"]) for worker in made] == [
        ("slow", "openai/slow"),
        ("quick", "openai/quick"),
    ]
    assert out.count("ping      answered in") == 2 and out.count("tokens a second") == 2
    assert desk.asked - before == Counter(slow=1, quick=1)
    assert "240 attempts are missing: measuring costs at most $" in out
    assert len((desk.folder / "questions.jsonl").read_text().splitlines()) == 120
    assert "fugu up --pool made.yaml --questions questions.jsonl --max-usd 5" in out


def test_init_overwrites_nothing_and_names_the_variables_that_it_looks_for(desk: Desk) -> None:
    (desk.folder / "there.yaml").write_text("mine")
    status, out = desk.fugu("init", "--file", "there.yaml", "--model", "openai/slow")
    assert status == 2 and "there.yaml is there already" in out
    assert (desk.folder / "there.yaml").read_text() == "mine"
    status, out = desk.fugu("init", "--file", "none.yaml", "--offline")
    assert status == 2 and len(out.splitlines()) == 1 and "OPENAI_API_KEY" in out
    assert not (desk.folder / "none.yaml").exists()


def test_the_pool_check_says_what_a_worker_is_and_what_litellm_does_with_its_fields(desk: Desk) -> None:
    file = desk.folder / "real.yaml"
    params = {"temperature": 0.3, "reasoning_effort": "low"}
    small = worker("small", desk.url, 1.0) | {"model": "openai/gpt-5-nano", "params": params}
    file.write_text(yaml.safe_dump({"workers": [small]}))
    status, out = desk.fugu("pool", "check", "real.yaml", "--offline")
    assert status == 0 and "ping" not in out
    assert "key       DESK_KEY set" in out and "the map of litellm says $0.05 in" in out
    assert "abilities text, tools, images, structured output, reasoning effort" in out
    assert "4,096 tokens a reply" in out and "reads 272,000 tokens" in out
    assert "refused   temperature, top_p" in out
    assert "params    reasoning_effort (sent), temperature (REFUSED by litellm)" in out


def test_a_worker_that_is_named_serves_and_another_one_takes_over(desk: Desk) -> None:
    ledger = Ledger(f"sqlite:///{desk.folder / 'seats.db'}")
    ledger.create_schema()
    pool = Pool.load(desk.folder / "my.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DESK_KEY", "sk-desk")
        assert seat(ledger, pool) == "slow" and seat(ledger, pool) is None
        assert seat(ledger, pool, "cheapest") == "quick" and seat(ledger, pool, "quick") is None
        for model in ("fugu", "trinity"):
            champion = registry.champion(ledger, model)
            assert champion is not None and is_unmeasured(champion) and champion.target["worker"] == "quick"
        with pytest.raises(Exception, match="has no worker 'nobody'"):
            seat(ledger, pool, "nobody")
    ledger.close()


@pytest.mark.whole_house
def test_the_readmes_two_questions_are_measured_learned_from_and_served(desk: Desk, data_with) -> None:
    data = data_with(PRESET)
    new = desk._replace(folder=desk.folder / "learned", more={"FUGU_DATA": str(data)})
    new.folder.mkdir()
    (new.folder / "readme.jsonl").write_text(README)
    where = ["--once", "--port", "0", "--prefect-port", "0", "--pool", str(desk.folder / "my.yaml")]
    process = new.start_fugu("up", *where, "--serve", "slow", "--questions", "readme.jsonl", "--max-usd", "5")
    out, _ = process.communicate(timeout=400)
    assert process.returncode == 0, out
    assert "warning: no question is left to validate with" in out and "first-light/measure-learn-serve is done" in out
    assert "the nightly refresh spends nothing while its max_usd is 0" in out
    ledger = Ledger(f"sqlite:///{new.folder / 'home' / 'ledger.db'}")
    for model in ("fugu", "trinity"):
        champion = registry.champion(ledger, model)
        assert champion is not None and not is_unmeasured(champion), "the worker that was named did not answer best"
    ledger.close()
