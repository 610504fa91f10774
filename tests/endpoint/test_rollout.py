"""Whole rollouts: an agent in a workshop, the endpoint on its loopback, house workers, and the verifying command."""

from __future__ import annotations

import json
import socket

import httpx
import numpy as np
import pytest

from deployments.endpoint.rollout import server_of
from models.coding.agent import Agent, load_agent
from models.coding.rollouts import Bench, Player, Rollouts, TaskSlot, constant
from models.errors import UpstreamUnavailable
from models.fugu.roles import Role
from models.fugu.router import Decision
from models.grading.repository import load_task
from models.house import handler
from models.workers.dispatch import Dispatcher
from models.workers.pool import Pool
from tasks.setup.settings import PROJECT

DATA = PROJECT / "data"
SCRIPTED = load_agent(DATA / "agents.yaml", "scripted")
pytestmark = [pytest.mark.programs, pytest.mark.usefixtures("workshops")]


def tasks(*names):
    return [load_task(DATA / "repositories" / name) for name in names]


@pytest.fixture
def workers():
    handler.register()
    return Pool.load(DATA / "pools" / "house.yaml")


@pytest.fixture
def asked(tmp_path, monkeypatch):
    path = tmp_path / "asked.jsonl"
    monkeypatch.setenv("FUGU_HOUSE_COUNTER", str(path))
    return lambda: [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
async def rollouts(ledger, workers, asked):
    """`(names, agent)` -> rollouts of these tasks."""
    dispatchers = []

    def make(names, agent=SCRIPTED, model="fugu", asking=None, repeats=1):
        dispatchers.append(Dispatcher(ledger, workers))
        bench = Bench(agent, server_of(ledger, workers), asking or dispatchers[-1], "measure:1", model)
        return Rollouts(bench, [TaskSlot(task, repeat) for task in tasks(*names) for repeat in range(repeats)])

    yield make
    for dispatcher in dispatchers:
        await dispatcher.close()


def by_hand(text, **options):
    """An agent that is a Python program."""
    return Agent(command=("python3", "-c", text), room={"wall_s": 20, "memory_mb": 256, "processes": 24}, **options)


async def test_the_scripted_agent_solves_what_its_worker_can_do(rollouts, workers, asked):
    found = rollouts(["fines", "fares", "gazetteer"])
    coder = await found.ends(constant(workers.names, "coder"), range(3))
    assert [end.reward for end in coder] == [1, 1, 0]
    assert [end.calls for end in coder] == [1, 2, 4]  # two faults take two turns; nobody helps with a table of capitals
    assert (await found.ends(constant(workers.names, "atlas"), [2]))[0].reward == 1
    assert {call["worker"] for call in asked()} == {"coder", "atlas"}


async def test_equal_choices_cost_one_rollout_and_no_settled_call_is_asked_again(rollouts, workers, asked):
    policy = constant(workers.names, "coder")
    first = rollouts(["fares"])
    ends = [*await first.ends(policy, [0]), *await first.ends(policy, [0])]
    assert ends[0] is ends[1] and first.spent.asks == 2 and first.spent.turns == 4
    # The same again in another process: the agent runs once more, the calls are read from the ledger.
    again = (await rollouts(["fares"]).ends(policy, [0]))[0]
    assert (again.reward, again.turns) == (ends[0].reward, ends[0].turns)
    assert len(asked()) == 2


async def test_only_where_choices_part_is_an_agent_let_loose_again(rollouts, workers):
    found = rollouts(["fares"])

    def choose_by(names):
        def choose(text, allowed, number):
            index = workers.names.index(names[min(number, len(names) - 1)])
            return Decision(workers.names[index], index, None, np.zeros(6, np.float32), None, 0.0, 0.0)

        return lambda slot: Player(workers.names, choose)

    one = (await found.ends(choose_by(["coder", "coder"]), [0]))[0]
    other = (await found.ends(choose_by(["coder", "calc", "coder"]), [0]))[0]
    assert [turn[0] for turn in other.turns] == [workers.names.index(name) for name in ("coder", "calc", "coder")]
    assert one.reward == other.reward == 1
    assert (await found.ends(choose_by(["coder", "calc", "coder"]), [0]))[0] is other


async def test_the_loop_with_roles_serves_an_agent_too(rollouts, workers):
    found = rollouts(["fines"], model="trinity")
    coder = workers.names.index("coder")

    def choose(text, allowed, number):
        role = Role.SOLVER if number % 2 == 0 else Role.VERIFIER
        return Decision("coder", coder, role, np.zeros(6, np.float32), np.zeros(3, np.float32), 0.0, 0.0)

    end = (await found.ends(lambda slot: Player(workers.names, choose, roles=True, in_roles=True), [0]))[0]
    assert end.reward == 1 and end.score.roles == (Role.SOLVER, Role.VERIFIER)


async def test_repeats_have_seeds_of_their_own(rollouts, workers, asked):
    await rollouts(["median"], repeats=2).ends(constant(workers.names, "sage"), [0, 1])
    digests = [call["digest"] for call in asked()]
    assert len(digests) == 8 and len(set(digests)) == 8  # same messages; repeat and number of the call tell them apart


async def test_a_workers_outage_is_no_sample(rollouts, workers):
    class Down:
        async def ask(self, ask):
            raise UpstreamUnavailable("down")

    found = rollouts(["fines"], asking=Down())
    with pytest.raises(UpstreamUnavailable, match="down"):
        await found.ends(constant(workers.names, "coder"), [0])


async def test_an_agent_cannot_tamper_with_what_verifies_it(rollouts, workers):
    passing = "print('Ran 5 tests in 0s\\\\n\\\\nOK')"
    text = (
        "import os\n"
        f"open('test_till.py', 'w').write(\"{passing}\")\n"
        f"os.mkdir('unittest'); open('unittest/__main__.py', 'w').write(\"{passing}\")\n"
        "open('unittest/__init__.py', 'w')\n"
        f"open('sitecustomize.py', 'w').write(\"{passing}\\nimport os; os._exit(0)\")\n"
    )
    end = (await rollouts(["change"], by_hand(text)).ends(constant(workers.names, "coder"), [0]))[0]
    assert end.agent.startswith("exit 0") and end.reward == 0 and "FAILED" in end.detail


async def test_an_agent_reaches_the_endpoint_and_nobody_else(rollouts, workers):
    with socket.create_server(("127.0.0.1", 0)) as other:
        text = (
            "import os, urllib.request\n"
            f"for url in (os.environ['OPENAI_BASE_URL'], 'http://127.0.0.1:{other.getsockname()[1]}', 'http://1.1.1.1'):\n"
            "    try: print(urllib.request.urlopen(url + '/models', timeout=3).status)\n"
            "    except OSError as error: print('refused')"
        )
        end = (await rollouts(["change"], by_hand(text)).ends(constant(workers.names, "coder"), [0]))[0]
    assert end.agent == "exit 0: 200\nrefused\nrefused" and end.turns == ()


async def test_an_agent_that_forks_forever_is_stopped(rollouts, workers):
    text = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
    agent = by_hand(text).model_copy(update={"room": by_hand("").room.model_copy(update={"wall_s": 2.0})})
    end = (await rollouts(["change"], agent).ends(constant(workers.names, "coder"), [0]))[0]
    assert end.reward == 0 and end.agent.startswith(("out of time", "killed"))


async def test_what_the_workers_cannot_honour_is_refused_by_name(rollouts, workers):
    text = (
        "import json, os, urllib.request, urllib.error\n"
        "body = {'model': 'fugu', 'messages': [{'role': 'user', 'content': 'hi'}], 'logit_bias': {'5': 1}}\n"
        "url, kind = os.environ['OPENAI_BASE_URL'] + '/chat/completions', {'Content-Type': 'application/json'}\n"
        "request = urllib.request.Request(url, json.dumps(body).encode(), kind)\n"
        "try: urllib.request.urlopen(request)\n"
        "except urllib.error.HTTPError as error: print(error.code, json.load(error)['error']['param'])"
    )
    end = (await rollouts(["change"], by_hand(text)).ends(constant(workers.names, "coder"), [0]))[0]
    assert end.agent == "exit 0: 400 logit_bias"


async def test_its_port_is_called_by_its_own_name_from_no_page(ledger, workers):
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1/models"
    async with (
        server_of(ledger, workers)(listening, constant(workers.names, "calc"), None, "fugu"),
        httpx.AsyncClient(trust_env=False) as client,
    ):
        for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "same-site"}):
            assert (await client.get(url, headers=headers)).status_code == 403
        assert (await client.get(url)).json()["data"][0]["id"] == "fugu"
