"""The setting FUGU_CONDUCTOR, the cards that the labels give, and the order in which the champion puts workers."""

from __future__ import annotations

import numpy as np
import pytest

from deployments.endpoint.parts import open_parts as endpoint_parts
from models.conductor.plan.workflow import PlanLimits
from models.conductor.plan.writers import CheckpointWriter, FixedWriter, PlanRequest, PromptedWriter
from models.errors import BadFile, BadInput, NotFound, NotTaught
from models.ledger import registry
from models.ledger.epochs import open_epoch, put_questions
from models.ledger.labels import Attempt, put_attempts
from models.workers.dispatch import Dispatcher
from models.workers.pool import Pool, Price, Worker
from tasks.setup.conductor import cards, champion_rank, open_parts, open_policy
from tasks.setup.settings import PROJECT, settings


@pytest.fixture
def pool() -> Pool:
    free = Price(input_per_million=0, output_per_million=0)
    live = [Worker(name=name, model=f"openai/{name}", price=free) for name in ("a", "b", "boss")]
    return Pool(name="p", workers=(*live[:2], Worker(name="paper", model="recorded/x")), conductors=(live[2],))


def test_the_setting_names_who_writes_the_plans(tmp_path, ledger, pool):
    (tmp_path / "plan.txt").write_text("model_id = [0]")
    policy = open_policy(f"fixed:{tmp_path / 'plan.txt'}", ledger, pool)
    assert isinstance(policy, FixedWriter) and policy.text == "model_id = [0]"
    assert isinstance(open_policy("worker:boss", ledger, pool), PromptedWriter)
    assert open_policy("worker:a", ledger, pool).name == "worker:a"
    refused = [("worker:none", NotFound), ("worker:paper", BadInput), ("fixed:/none", BadFile), ("/none", BadInput)]
    for setting, error in [*refused, ("anything:else", BadInput)]:
        with pytest.raises(error):
            open_policy(setting, ledger, pool)


def test_a_conductor_that_was_taught_another_pool_is_refused_with_one_sentence(tmp_path, ledger, pool, monkeypatch):
    house = Pool.load(PROJECT / "data" / "pools" / "house.yaml")
    shipped = str(PROJECT / "data" / "conductor")
    for setting, name in [("house", "house"), (shipped, "conductor")]:
        made = open_policy(setting, ledger, house)
        assert isinstance(made, CheckpointWriter) and made.name == name
        with pytest.raises(
            BadInput, match=r"taught another pool \(house\): .* cannot plan for the pool 'p'; FUGU_CONDUC"
        ):
            open_policy(setting, ledger, pool)
    monkeypatch.setenv("FUGU_DATA", str(tmp_path))  # without a conductor there, the project's is taken
    assert open_policy("", ledger, house).name == "house"


def test_unset_the_named_conductor_plans_on_a_foreign_pool(ledger, pool):
    assert open_policy("", ledger, pool).name == "worker:boss"


async def test_on_a_pool_that_cannot_plan_every_question_goes_to_one_worker(ledger):
    pool = Pool(name="two", workers=tuple(Worker(name=name, model=f"house/{name}") for name in ("atlas", "calc")))
    writer = open_policy("", ledger, pool)
    with pytest.raises(NotTaught, match="one worker answers"):
        await writer.write(PlanRequest(({"role": "user", "content": "What is 2 + 2?"},), ()))


def test_the_setting_is_absolute_and_travels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for given, expected in [
        ("", ""),
        ("house", "house"),
        ("worker:boss", "worker:boss"),
        ("fixed:plan.txt", f"fixed:{tmp_path}/plan.txt"),
        ("folder", f"{tmp_path}/folder"),
    ]:
        monkeypatch.setenv("FUGU_CONDUCTOR", given)
        assert settings().conductor == expected == settings().environment()["FUGU_CONDUCTOR"]


async def test_how_long_a_plan_may_be_is_a_setting_that_reaches_whoever_conducts(tmp_path, ledger, pool, monkeypatch):
    assert (settings().max_steps, settings().max_subtask_chars) == (5, 4000)
    monkeypatch.setenv("FUGU_MAX_STEPS", "7")
    monkeypatch.setenv("FUGU_MAX_SUBTASK_CHARS", "90")
    monkeypatch.setenv("FUGU_HOME", str(tmp_path))
    assert settings().environment()["FUGU_MAX_STEPS"] == "7"
    dispatcher = Dispatcher(ledger, pool)
    assert (await open_parts(ledger, pool, dispatcher, None)).plan == PlanLimits(7, 90)
    await dispatcher.close()
    assert endpoint_parts().plan == PlanLimits(7, 90)
    monkeypatch.setenv("FUGU_MAX_STEPS", "0")
    with pytest.raises(BadInput, match="FUGU_MAX_STEPS"):
        settings()


def test_cards_are_the_means_of_todays_labels(ledger, pool):
    rows = [{"id": f"q{n}", "task": "sums" if n < 2 else "facts", "digest": "d", "split": "train"} for n in range(3)]
    put_questions(ledger, "file", [row | {"tags": [], "body": {}} for row in rows])
    epoch = open_epoch(ledger, "p", "set")
    scores = {("a", 0): 1.0, ("a", 1): 0.5, ("a", 2): 0.0, ("b", 2): 1.0}
    given = {"revision": "1", "repeat": 0, "grader": "exact", "grader_version": "1"}
    put_attempts(
        ledger, [Attempt(epoch, f"q{n}", worker, score=score, **given) for (worker, n), score in scores.items()]
    )
    assert cards(ledger, pool) == {"a": "sums 0.75, facts 0.00", "b": "facts 1.00", "paper": ""}


async def test_without_a_champion_the_pools_order_stands_and_a_worker_that_is_champion_comes_first(ledger, pool):
    rank = champion_rank(ledger, pool)
    assert list(await rank([], ["a", "b"])) == ["a", "b"]
    registry.promote(ledger, "fugu", {"kind": "worker", "worker": "b"}, "test")
    assert list(await rank([], ["a", "b"])) == ["b", "a"]


async def test_the_champions_logits_rank(ledger, pool, monkeypatch):
    class Router:
        workers, roles, released = ("a", "b", "paper"), False, None

        def decide(self, messages):
            return type("D", (), {"worker_logits": np.array([0.0, 1.0, 2.0])})

    meta = {"workers": list(pool.names)}
    checkpoint = registry.save_checkpoint(ledger, name="r", vector=np.zeros(1, np.float32), meta=meta)
    registry.promote(ledger, "fugu", {"kind": "router", "checkpoint": checkpoint}, "test")
    monkeypatch.setattr("tasks.setup.conductor.load_router", lambda checkpoint: Router())
    assert await champion_rank(ledger, pool)([{"role": "user", "content": "?"}], ["a", "b"]) == ["b", "a"]
