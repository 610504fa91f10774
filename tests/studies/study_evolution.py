"""What evolution is worth: the same search from several seeds, against a control, on questions that are used once.

A seed draws its own train and validation questions (and, of the simulated pool, its workers' skills), learns a warm
start from one label per cell, and evolves it in several ways, all with the same number of rollouts. The control is
given its fitnesses in a random order, and keeps a parent by the same gate. At the end every kept parent, and the warm
start, answers the held-out questions, which are the same for all seeds. Workers answer in this process.

    FUGU_HOME=study python tests/studies/study_evolution.py --pool house

prints the tables of data/EXPERIMENTS.md, section 8; the sizes are those of `studies.yaml`. Seeds that are done are
taken from the cache of FUGU_HOME. Hours on two cores.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from evolution import Ascent, Bench, Climb
from figures import over_seeds, shown
from pools import named
from prefect import get_run_logger
from pydantic import Field

from models.files import read_yaml
from models.grading.question import Question
from models.house.questions import generate
from tasks.caching import PAID, key_of
from tasks.pages.report import Progress, publish
from tasks.quiet import flow, task
from tasks.setup.preset import EvolutionPlan, Preset
from tasks.setup.router import load_backbone
from tasks.setup.settings import HOUSE
from tasks.train import prepare_backbone

WARM, FIRST = "warm start", "two stages"
TRAIN_SEED = 1000
"""Of the first seed's questions. The held-out ones are another draw; a question that is in both is held out."""

RUNGS = 3
"""Of the arm with successive halving: half of all rollouts, so that it has twice the generations."""

STUDIES = Path(__file__).with_name("studies.yaml")


class Study(Preset):
    """One entry of `studies.yaml`: a preset whose evolution is repeated with so many seeds."""

    seeds: int = Field(gt=0)


def load_study(name: str) -> Study:
    """The study of that name."""
    return read_yaml(STUDIES).entry(Study, name, "study")


def arms(plan: EvolutionPlan) -> dict[str, Ascent]:
    """The ways to evolve, all of as many rollouts."""
    names = "population", "generations", "subspace_generations", "rank", "flip_rate", "role_flip_rate", "temperature"
    both = Ascent(**{name: getattr(plan, name) for name in names})
    generations, first = both.generations, both.subspace_generations
    return {
        FIRST: both,
        "head in a subspace": replace(both, subspace_generations=generations),
        "every parameter": replace(both, subspace_generations=0),
        "halving": replace(both, generations=2 * generations, subspace_generations=2 * first, rungs=RUNGS),
        "control": replace(both, shuffled=True),
    }


@flow(name="study-evolution", flow_run_name="study evolution on {pool}")
async def study_evolution(pool: Literal["house", "simulated"] = "house") -> list[dict[str, Any]]:
    """What the arms of every seed reached; the report is a page of markdown."""
    study = load_study(pool)
    path = await prepare_backbone(HOUSE, study.backbone)
    generations = sum(ascent.generations for ascent in arms(study.evolution).values())
    progress = await Progress.start("study", study.seeds * generations)
    runs = [await run_seed(pool, seed, path, study.model_dump(), progress) for seed in range(study.seeds)]
    text = report(pool, runs, held_out(study))
    await publish(f"study-evolution-{pool}", f"What evolution is worth on the {pool} pool.", [text])
    return runs


@task(task_run_name="seed {seed} on {pool}", cache_key_fn=key_of("pool", "seed", "path", "study"), **PAID)
async def run_seed(pool: str, seed: int, path: str, study: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """What the arms found from one seed. The held-out questions are asked last, of all of them."""
    plan = Study.model_validate(study)
    bench = await _bench(pool, seed, path, plan)
    climbs: dict[str, Climb] = {}
    for name, ascent in arms(plan.evolution).items():
        climbs[name] = await bench.climb(ascent, plan.evolution.seed + seed, progress.add)
        get_run_logger().info("seed %d, %s: validation %+.4f", seed, name, climbs[name].gain)
    return {
        "held out": {WARM: await bench.held_out(bench.start)}
        | {name: await bench.held_out(climb.vector) for name, climb in climbs.items()},
        "validation": {name: climb.gain for name, climb in climbs.items()},
        "rollouts": {name: climb.rollouts for name, climb in climbs.items()},
        "turns": bench.training.spent.turns,
        "asks": bench.training.spent.asks,
        "first": {"turns": climbs[FIRST].spent.turns, "asks": climbs[FIRST].spent.asks},
        "missed": np.mean(climbs[FIRST].missed, axis=0).tolist(),
    }


async def _bench(pool: str, seed: int, path: str, study: Study) -> Bench:
    direct = named(pool, seed)
    unseen = direct.pose(held_out(study))
    counts = {"train": study.questions.train, "validation": study.questions.validation}
    known = {question.id for question in unseen}
    drawn = [q for q in direct.pose(generate(TRAIN_SEED + seed, counts)) if q.id not in known]
    train, validation = ([q for q in drawn if q.split == split] for split in counts)
    backbone = await asyncio.to_thread(load_backbone, path, study.backbone)
    repeats = study.evolution.repeats
    return await Bench.open(direct, backbone, train, validation, unseen, repeats, study.evolution.seed + seed)


def held_out(study: Study) -> list[Question]:
    """The questions that are used once, the same for all seeds."""
    return generate(study.questions.seed, {"test": study.questions.test})


def report(pool: str, runs: Sequence[dict[str, Any]], questions: Sequence[Question]) -> str:
    """The gains over the warm start as tables of markdown, and what it took."""
    rewards = {name: np.array([run["held out"][name] for run in runs]) for name in runs[0]["held out"]}
    two_hop = np.array(["two-hop" in question.tags for question in questions])
    groups = {"all": np.full(len(questions), True)}
    if pool == "house":  # the simulated workers know nothing of steps
        groups |= {"single-hop": ~two_hop, "two-hop": two_hop}
    heads = [f"{name} (n = {rows.sum()})" for name, rows in groups.items()]
    table = [["", "rollouts", "validation", *heads, "each seed"]]
    table.append([WARM, "", "", *(f"{rewards[WARM][:, rows].mean():.4f}" for rows in groups.values()), ""])
    gaps = {name: rewards[name] - rewards[WARM] for name in runs[0]["validation"]}
    for name, gap in gaps.items():
        gains = [shown(over_seeds(gap[:, rows])) for rows in groups.values()]
        each = ", ".join(f"{gain:+.4f}" for gain in gap.mean(axis=1))
        validation = f"{np.mean([run['validation'][name] for run in runs]):+.4f}"
        table.append([name, f"{runs[0]['rollouts'][name]:,}", validation, *gains, each])
    left_out, lost = np.mean([run["missed"] for run in runs], axis=0)
    saved = [f"All ways, of which each knows what those before it met: {_saved(runs)}."]
    if all("first" in run for run in runs):  # a seed that was kept by an older revision does not say
        saved.insert(0, f"{FIRST.capitalize()}, the first of them, alone: {_saved([run['first'] for run in runs])}.")
    return "\n\n".join(
        [
            f"## {pool}: {len(runs)} seeds, {len(questions)} held-out questions",
            _table(table),
            f"Two stages less the control: {shown(over_seeds(gaps[FIRST] - gaps['control']))}.",
            f"Halving leaves out {left_out:.1%} of a generation's better half, whose mean fitness falls by {lost:.4f}.",
            *saved,
        ]
    )


def _saved(spent: Sequence[dict[str, Any]]) -> str:
    turns, asks = (sum(one[key] for one in spent) for key in ("turns", "asks"))
    return f"{turns:,} turns of rollouts took {asks:,} asks ({1 - asks / turns:.2%} saved)"


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--pool", choices=("house", "simulated"), default="house")
    pool = arguments.parse_args().pool
    print(report(pool, asyncio.run(study_evolution(pool)), held_out(load_study(pool))))


if __name__ == "__main__":
    main()
