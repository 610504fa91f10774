"""GRPO on a tiny model: it learns what is rewarded, goes on after a kill, and outages teach nothing."""

from __future__ import annotations

import copy
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.conductor.learn import grpo
from models.conductor.learn.grpo import Course, _config, adapted, fitting_rank, merged, newest_checkpoint, train
from models.conductor.learn.offers import Offers, exercises
from models.conductor.learn.practice import DISCOUNT, Outcome, rehearse, rewards_of
from models.conductor.learn.sft import Example, Tuning, tune
from models.conductor.plan.workflow import Step, Workflow
from models.conductor.plan.writers import CheckpointWriter, compact_prompt
from models.errors import BadInput
from models.grading.question import Question
from models.house.conductor import TINY
from models.house.plans import ACCEPT, written
from models.house.qwen import fresh, train_tokenizer

WORKERS = ("red", "blue")
QUESTIONS = [
    Question(id=f"q{n}", task="colour", messages=({"role": "user", "content": f"Which one is it in {n}?"},))
    for n in range(16)
]
COURSE = Course(iterations=16, questions=4, group=8, learning_rate=1e-3, max_tokens=40, save_every=100)
SIZE = replace(TINY, layers=2)


def plan(worker):
    return written(Workflow(steps=(Step(model=worker, subtask="Go.", access=()),)))


def execute(trials):
    """Only blue is ever right; an accepted answer is so where it is blue's."""
    outcomes = []
    for trial in trials:
        steps = trial.workflow.steps
        said = trial.exercise.workers[steps[-1].model] if steps else trial.exercise.request.previous
        outcomes.append(Outcome(float(said == "blue"), said))
    return outcomes


def given(course=COURSE):
    return exercises(QUESTIONS, WORKERS, {}, Offers(least=2), count=course.exercises, seed=course.seed)


@pytest.fixture(scope="module")
def started():
    """A model that writes legal plans and knows nothing of the workers, and its tokenizer."""
    requests = [exercise.request for exercise in given()[:16]]
    examples = [Example(compact_prompt(request), plan(worker)) for request in requests for worker in (0, 1)]
    again = [replace(request, previous=name) for request in requests[:8] for name in WORKERS]
    examples += [Example(compact_prompt(request), text) for request in again for text in (written(ACCEPT), plan(0))]
    tokenizer = train_tokenizer([example.prompt + example.completion for example in examples], 500)
    torch.manual_seed(0)
    model = fresh(SIZE)
    tune(model, tokenizer, examples, Tuning(epochs=40, batch=16, learning_rate=1.2e-2))
    return model, tokenizer


@pytest.fixture
def model(started):
    """A copy for one test."""
    copy = fresh(SIZE)
    copy.load_state_dict(started[0].state_dict())
    return copy


def sampled_reward(model, tokenizer):
    policy = CheckpointWriter(model, tokenizer, name="", prompt="compact", max_tokens=40, temperature=1.0)
    rewards = rewards_of(rehearse(policy.write_many, given()[:16], execute, times=4))
    return sum(rewards) / len(rewards)


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_it_learns_who_is_right_from_rewards_alone(model, started, tmp_path):
    before = sampled_reward(model, started[1])
    told = []
    trained, history = train(
        model, started[1], given(), execute, COURSE, tmp_path, prompt="compact",
        report=lambda iteration, figures: told.append(iteration),
    )  # fmt: skip
    assert sampled_reward(trained, started[1]) > before + 0.15
    assert told == list(range(1, 17)) and len(history) == 16
    assert {"reward", "earned", "parsed", "legal", "mixed", "outages", "steps"} <= history[0].keys()


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    ("recursive", "micro_batch", "lora"),
    [
        (False, 0, 0),
        pytest.param(True, 8, 0, marks=pytest.mark.programs),
        pytest.param(False, 0, 4, marks=pytest.mark.programs),
    ],
)
def test_a_killed_training_goes_on_from_its_checkpoint_as_if_nothing_had_happened(
    model, started, tmp_path, recursive, micro_batch, lora
):
    course = replace(COURSE, iterations=4, save_every=2, micro_batch=micro_batch, lora=lora)
    rounds = [replace(exercise, second=recursive and n % 2 == 1) for n, exercise in enumerate(given(course))]
    twin = copy.deepcopy(model)
    anew = copy.deepcopy(model) if lora else fresh(SIZE)  # a checkpoint of adapters holds them alone
    whole, figures = train(model, started[1], rounds, execute, course, tmp_path / "whole", prompt="compact")
    batches, last = 0, 7 if recursive else 4  # the recursion has one more for each batch of forced first rounds

    def counting(trials):
        nonlocal batches
        batches += 1
        if batches == last:
            raise Killed
        return execute(trials)

    folder = tmp_path / "killed"
    with pytest.raises(Killed):
        train(twin, started[1], rounds, counting, course, folder, prompt="compact")
    assert newest_checkpoint(folder) == folder / "checkpoint-2"
    batches, last = 0, None
    resumed, again = train(anew, started[1], rounds, counting, course, folder, prompt="compact")
    # The answers that iteration 3 shows were written before step 2: the model after it must not write them again.
    assert batches == (3 if recursive else 2)
    assert torch.allclose(weights(whole), weights(resumed), atol=1e-6)
    assert [row["earned"] for row in again] == pytest.approx([row["earned"] for row in figures])


def test_a_checkpoint_that_a_kill_tore_is_passed_over(model, started, tmp_path):
    course = replace(COURSE, iterations=4, save_every=2)
    whole, figures = train(model, started[1], given(course), execute, course, tmp_path, prompt="compact")
    whole = weights(whole).clone()
    good, torn = tmp_path / "checkpoint-2", tmp_path / "checkpoint-4"
    assert newest_checkpoint(tmp_path) == torn
    (torn / "optimizer.pt").unlink()
    for left in ("", '{"global_step": 4, "log_hi', None):  # what the trainer writes last
        (torn / "trainer_state.json").unlink()
        if left is not None:
            (torn / "trainer_state.json").write_text(left)
        assert newest_checkpoint(tmp_path) == good
    resumed, again = train(fresh(SIZE), started[1], given(course), execute, course, tmp_path, prompt="compact")
    assert torch.allclose(whole, weights(resumed), atol=1e-6)
    assert [row["earned"] for row in again] == pytest.approx([row["earned"] for row in figures])
    assert newest_checkpoint(tmp_path) == torn and newest_checkpoint(tmp_path / "nothing is here") is None


def test_an_outage_is_no_sample(model, started, tmp_path):
    before = weights(model).clone()
    course = replace(COURSE, iterations=2)
    trained, history = train(
        model, started[1], given(course), lambda trials: [None] * len(trials), course, tmp_path, prompt="compact"
    )
    legal = [row["legal"] for row in history]
    assert [row["outages"] for row in history] == pytest.approx(legal)
    if legal == [1.0, 1.0]:  # nothing was seen, so nothing is learned
        assert torch.allclose(before, weights(trained), atol=1e-5)


@pytest.mark.parametrize("reward", [None, 0.0])
def test_one_outage_among_equal_rewards_moves_nothing(model, started, tmp_path, reward):
    """What is not seen is not taken for a 0, which would move the weights (the second case: the test can tell)."""
    before = weights(model).clone()
    course = replace(COURSE, iterations=1, temperature=0.5, warm_up=0.0)

    def all_but_one(trials):
        assert len(trials) == course.questions * course.group  # all of them are legal
        first = None if reward is None else Outcome(reward, "")
        return [first, *[Outcome(1.0, "") for _ in trials[1:]]]

    trained, history = train(model, started[1], given(course), all_but_one, course, tmp_path, prompt="compact")
    assert torch.equal(before, weights(trained)) == (reward is None)
    assert (history[0]["grad_norm"] == 0.0) == (reward is None)


def test_second_rounds_are_shown_an_answer(model, started, tmp_path):
    course = replace(COURSE, iterations=4, questions=4)
    rounds = [replace(exercise, second=number % 2 == 1) for number, exercise in enumerate(given(course))]
    shown = []

    def noting(trials):
        shown.extend(trial.exercise for trial in trials)
        return execute(trials)

    _, history = train(model, started[1], rounds, noting, course, tmp_path, prompt="compact")
    assert any(exercise.second and exercise.request.previous in WORKERS for exercise in shown)
    assert all(exercise.second == (exercise.request.previous is not None) for exercise in shown)
    assert all(0 <= row[f"earned/{round}"] <= 1 for row in history for round in ("first", "second"))


HALF = [1.0, 0.0] * 4
FLAT = [1.0] * 8
LOST = [None, 0.0, 1.0, 1.0, None, 0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("first", "second", "micro_batch"),
    [(HALF, HALF, 0), (HALF, FLAT, 0), (FLAT, HALF, 8), (LOST, HALF, 4), (HALF, LOST, 8), (LOST, [None] * 8, 0)],
)
def test_the_trainers_own_loss_discounts_first_rounds_by_gamma_whatever_the_others_earn(
    model, started, tmp_path, monkeypatch, first, second, micro_batch
):
    from trl import GRPOTrainer  # which takes seconds, and only the process that comes here needs it

    course = replace(COURSE, iterations=1, questions=2, micro_batch=micro_batch, temperature=0.5, warm_up=0.0)
    pair = [replace(exercise, second=second) for exercise, second in zip(given(course), (False, True), strict=True)]
    found = []
    compute = GRPOTrainer._compute_loss

    def noting(self, model, inputs):
        found.extend(inputs["advantages"].tolist())
        return compute(self, model, inputs)

    def as_told(trials):
        if len(trials) == 1:  # the first round that the second one is shown
            return [Outcome(0.0, "red")]
        assert len(trials) == 16  # all of them are legal
        scores = {False: iter(first), True: iter(second)}
        drawn = [next(scores[trial.exercise.second]) for trial in trials]
        return [None if score is None else Outcome(score, "") for score in drawn]

    monkeypatch.setattr(GRPOTrainer, "_compute_loss", noting)
    _, history = train(model, started[1], pair, as_told, course, tmp_path, prompt="compact")
    wanted = [*(DISCOUNT * value for value in normalised(first)), *normalised(second)]
    assert sorted(found) == pytest.approx(sorted(wanted), abs=1e-3)  # the trainer shuffles the rows of a batch
    seen = [(score + 1) / 2 for score in [*first, *second] if score is not None]
    assert history[0]["earned"] == pytest.approx(sum(seen) / len(seen))


def normalised(scores):
    """Advantages within one group, by numpy: 0 for what was not seen."""
    seen = np.array([(score + 1) / 2 for score in scores if score is not None])
    spread = seen.std(ddof=1) if len(seen) else 0.0
    return [0.0 if score is None or not spread else ((score + 1) / 2 - seen.mean()) / spread for score in scores]


def test_first_rounds_are_carried_out_once_however_small_the_parts_of_a_batch(model, started, tmp_path):
    course = replace(COURSE, iterations=3, questions=4, micro_batch=8)
    rounds = [replace(exercise, second=number % 2 == 1) for number, exercise in enumerate(given(course))]
    batches = []

    def counting(trials):
        batches.append([trial.exercise.second for trial in trials])
        return execute(trials)

    train(model, started[1], rounds, counting, course, tmp_path, prompt="compact")
    # Each iteration: the first rounds of its two second ones, then its own plans.
    assert len(batches) == 2 * course.iterations
    assert sum(len(batch) <= 2 and not any(batch) for batch in batches) == course.iterations


def test_adapters_end_merged_into_plain_weights_in_single_precision(model, started, tmp_path):
    before = model.bfloat16().model.layers[0].mlp.up_proj.weight.detach().clone()
    course = replace(COURSE, iterations=3, learning_rate=1e-5, lora=4)
    trained, _ = train(model, started[1], given(course), execute, course, tmp_path, prompt="compact")
    assert type(trained) is type(fresh(SIZE))
    assert {parameter.dtype for parameter in trained.parameters()} == {torch.float32}
    after = trained.model.layers[0].mlp.up_proj.weight
    assert (after != before.float()).float().mean() > 0.9  # in bf16 most of it would be rounded away
    trained.save_pretrained(tmp_path / "saved")
    again = type(trained).from_pretrained(tmp_path / "saved", dtype="auto")
    assert torch.equal(again.model.layers[0].mlp.up_proj.weight, after)


def test_a_merged_model_says_what_the_one_with_adapters_does():
    torch.manual_seed(0)
    model = adapted(fresh(SIZE).bfloat16(), 4, seed=0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=2e-3)  # as small beside a weight as what a training adds
    tokens = torch.randint(SIZE.vocabulary, (2, 12))
    with torch.no_grad():
        single = copy.deepcopy(model).float()
        exact = single(tokens).logits
        with single.disable_adapter():
            untrained = single(tokens).logits
        plain = merged(model)(tokens).logits
    assert (plain - exact).abs().max() < 0.01 * (untrained - exact).abs().max()


def test_adapters_take_ten_times_the_rate_of_all_weights_and_it_is_told(model, started, tmp_path, caplog):
    caplog.set_level(logging.INFO, grpo.__name__)
    assert _config(Course(), tmp_path, recursive=False).learning_rate == 1e-6
    assert _config(Course(lora=64), tmp_path, recursive=False).learning_rate == pytest.approx(1e-5)
    grpo._log_settings(Course(lora=64))
    assert "at a rate of 1.0e-05, 10 times the preset's" in caplog.text


def test_adapters_that_cannot_be_had_are_named_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr(grpo, "_memory", lambda: ("this card", 80 * GIB))
    monkeypatch.setattr(grpo.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match="extra `lora`"):
        fitting_rank(sized(7_615_616_512), 64)
    assert fitting_rank(sized(1_000_000), 64) == 0


def test_of_several_gpus_one_trains(model, started, tmp_path, monkeypatch):
    """trl refuses the replicas that the trainer would make of a model for the others."""
    from trl import GRPOConfig

    prepare = GRPOConfig.__post_init__

    def with_two(self):
        prepare(self)
        self._n_gpu = 2

    monkeypatch.setattr(GRPOConfig, "__post_init__", with_two)
    course = replace(COURSE, iterations=1)
    _, history = train(model, started[1], given(course), execute, course, tmp_path, prompt="compact")
    assert len(history) == 1


GIB = 2**30


@pytest.mark.parametrize(("memory", "wished", "trained"), [(200, 64, 0), (80, 64, 64), (200, 0, 0)])
def test_adapters_are_trained_where_the_memory_asks_for_them(monkeypatch, memory, wished, trained):
    monkeypatch.setattr(grpo, "_memory", lambda: ("this card", memory * GIB))
    assert fitting_rank(sized(7_615_616_512), wished) == trained


@pytest.mark.parametrize(("memory", "wished", "named"), [(80, 0, "113 GiB.* this card has 80 GiB"), (40, 64, "28 GiB")])
def test_a_training_that_does_not_fit_is_refused_by_its_memory(monkeypatch, memory, wished, named):
    monkeypatch.setattr(grpo, "_memory", lambda: ("this card", memory * GIB))
    with pytest.raises(BadInput, match=named):
        fitting_rank(sized(7_615_616_512), wished)


def sized(count):
    """A model of so many parameters in half precision that takes no memory."""
    model = torch.nn.Module()
    model.weight = torch.nn.Parameter(torch.empty(count, dtype=torch.bfloat16, device="meta"))
    return model


def test_a_course_says_once_that_it_goes_without_vllm(model, started, tmp_path, caplog):
    course = replace(COURSE, iterations=1, vllm=True)
    train(model, started[1], given(course), execute, course, tmp_path, prompt="compact")
    assert [record.message.count("vLLM") for record in caplog.records if "vLLM" in record.message] == [1]


def test_the_papers_settings_reach_trl(tmp_path):
    config = _config(Course(), tmp_path, recursive=False)
    assert (config.loss_type, config.scale_rewards, config.epsilon, config.beta) == ("grpo", "group", 0.2, 0.0)
    assert (config.num_generations, config.generation_batch_size, config.max_steps) == (64, 256, 200)
    assert (config.learning_rate, config.temperature, config.max_completion_length) == (1e-6, 1.0, 1024)
    assert (config.adam_beta1, config.adam_beta2, config.lr_scheduler_type, config.warmup_steps) == (
        0.9, 0.999, "cosine", 0.03,
    )  # fmt: skip
