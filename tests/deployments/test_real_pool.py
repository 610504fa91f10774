"""A pool as providers really are, through the started programs: a worker that plans, one outage, own parameters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml
from answering import Down, answering
from desk import Desk, Up, serving, worker

pytestmark = pytest.mark.programs

PLAN = 'model_id = [2]\nsubtasks = ["Answer the question."]\naccess_list = [[]]'
TYPED = "Write me code for binary search"
PARAMS = {"temperature": 0.3, "reasoning_effort": "low"}


def down(text: str) -> str:
    raise Down("overloaded")


def plan_or_reply(text: str) -> str:
    """A plan that gives the question to the third worker, where a plan is asked for."""
    return PLAN if "model_id" in text else f"shaped says {text}"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("desk")
    models = {"quick": lambda text: f"quick says {text}", "down": down, "shaped": plan_or_reply}
    with answering(models) as (url, asked):
        shaped = worker("shaped", url, 2.0) | {"params": PARAMS}
        pool = {"workers": [worker("quick", url, 1.0), worker("down", url, 0.5), shaped]}
        (folder / "pool.yaml").write_text(yaml.safe_dump(pool))
        yield Desk(folder, url, asked, {"FUGU_CONDUCTOR": "worker:shaped"})


@pytest.fixture(scope="module")
def up(desk: Desk, prefect_database: Path) -> Iterator[Up]:
    """The worker that is down was named to serve."""
    with serving(desk, prefect_database, "--pool", "pool.yaml", "--serve", "down") as up:
        yield up


@pytest.fixture(scope="module")
def traces(up: Up) -> dict[str, dict[str, Any]]:
    """Model -> the trace of the answer to `TYPED`."""
    found = {}
    asked: Any = [{"role": "user", "content": TYPED}]
    with openai.OpenAI(base_url=f"{up.endpoint}/v1", api_key="none", max_retries=0) as client:
        for model in ("fugu", "trinity", "fugu-ultra"):
            reply = client.chat.completions.create(model=model, messages=asked, extra_headers={"X-Fugu-Trace": "1"})
            found[model] = reply.to_dict()["fugu"]
    return found


def test_the_named_worker_serves_and_it_is_said_who_plans_and_what_that_costs(up: Up) -> None:
    assert "nothing was measured: worker 'down' answers" in up.said
    [plans] = [line for line in up.said.splitlines() if "FUGU_CONDUCTOR" in line]
    assert "worker:shaped" in plans and "$" in plans


@pytest.mark.parametrize("model", ["fugu", "trinity"])
def test_the_outage_of_one_worker_is_not_the_callers_error(traces, model) -> None:
    assert traces[model]["worker"] == "quick"
    assert [step["worker"] for step in traces[model]["steps"]] == ["down", "quick"]


def test_a_foreign_pools_plan_asks_what_was_typed(desk: Desk, traces) -> None:
    assert traces["fugu-ultra"]["worker"] == "shaped"
    asked = [body["messages"] for body in desk.asked.bodies if body["model"] == "shaped"]
    assert any(TYPED in [message["content"] for message in messages] for messages in asked)
    assert not any("imperial" in str(body) for body in desk.asked.bodies)


def test_a_workers_parameters_are_on_the_wire_and_nobody_elses(desk: Desk, traces) -> None:
    shaped = [body for body in desk.asked.bodies if body["model"] == "shaped"]
    assert len(shaped) >= 2 and all(PARAMS.items() <= body.items() for body in shaped)
    assert not any(set(PARAMS) & body.keys() for body in desk.asked.bodies if body["model"] != "shaped")
