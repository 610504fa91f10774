"""GRPO with trl: completions of one question are compared with each other, and the better ones made likelier.

Seed 000, section 5.1, and Conductor (arXiv 2512.04388): reward 0 / 0.5 / 1 from workflows that were really carried
out, advantages normalised within the group, the clipped surrogate with ε = 0.2, no KL term. trl's own defaults are
others (its loss is "dapo"), so all of it is set here.

Who carries workflows out is the caller's: `execute` is called from the thread that trains. What is not here, on
purpose: several devices. Of several GPUs the first is used; CUDA_VISIBLE_DEVICES says which one that is.
"""

from __future__ import annotations

import importlib.util
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

from models.conductor.learn.dataset import TrainingRows
from models.conductor.learn.practice import DISCOUNT, Execute, Exercise
from models.conductor.plan.writers import PROMPTS, CheckpointWriter, PlanRequest
from models.errors import BadInput
from models.workers.ask import text_of

log = logging.getLogger(__name__)

_TRAINED, _MERGED = 16, 4
"""Bytes of a parameter that is trained: weight, gradient and AdamW's two moments, in single precision; and of one that
adapters were merged into: in half precision most of what they learned would be rounded away."""

_FASTER = 10.0
"""By how much adapters learn faster than all weights. A preset's rate is that of all weights, and adapters want about
ten times it (Schulman et al., LoRA Without Regret, 2025: supervised as well as by rewards)."""

_ANSWERS = "answers.json"
"""A file in a checkpoint of the recursion finetune: what its next second rounds are shown."""

_SHARE = 0.6
"""The part of a memory that they may take: the rollouts' keys, values and activations need the rest."""

Report = Callable[[int, Mapping[str, float]], None]
"""(finished iterations, the last one's figures)"""


@dataclass(frozen=True)
class Course:
    """One run of GRPO; the defaults are the paper's (REFERENCE B2).

    An iteration samples `group` completions for each of `questions`, at `temperature`, and takes one step.
    `learning_rate`: of all weights; adapters take `adapted_rate` of it.
    `micro_batch`: completions of one forward with gradients, 0 for all. `lora`: the adapters' rank, 0 for none.
    `vllm`: generate with it where it is installed and there is a GPU.
    """

    iterations: int = 200
    questions: int = 4
    group: int = 64
    learning_rate: float = 1e-6
    warm_up: float = 0.03
    max_tokens: int = 1024
    temperature: float = 1.0
    micro_batch: int = 0
    lora: int = 0
    vllm: bool = False
    save_every: int = 10
    seed: int = 0

    @property
    def exercises(self) -> int:
        """How many the whole course takes."""
        return self.iterations * self.questions


def train(
    model: Any,
    tokenizer: Any,
    exercises: Sequence[Exercise],
    execute: Execute,
    course: Course,
    folder: Path,
    *,
    prompt: str = "full",
    report: Report | None = None,
) -> tuple[Any, list[dict[str, float]]]:
    """The trained model, and the figures of each iteration. Goes on from the last checkpoint in `folder`.

    The model comes back in single precision, adapters merged: saved as it is, it is served as it was trained.
    `exercises`: `course.exercises` of them, in the order in which they are taken. Where some are second rounds
    this is the recursion finetune: rewards are normalised within each round's groups, those of rounds without
    recursion are discounted by γ.
    """
    from transformers import PrinterCallback
    from trl import GRPOTrainer

    _tell(course)
    # All weights in single precision: a step of 1e-6 is lost on a weight in bf16.
    model = adapted(model, course.lora, course.seed) if course.lora else model.float()

    def write(requests: Sequence[PlanRequest]) -> list[str]:
        model.eval()  # with checkpointed gradients a model in training keeps no keys and values
        try:
            return writer.write_many(requests)
        finally:
            model.train()

    writer = CheckpointWriter(
        model, tokenizer, name="", prompt=prompt, max_tokens=course.max_tokens, temperature=course.temperature
    )
    rounds = TrainingRows(exercises, execute, write, lambda request: _shown(tokenizer, prompt, request), course.seed)
    tokenizer.padding_side = "left"
    # Forks of the random state keep the caller's own draws from depending on a training.
    with torch.random.fork_rng():
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=[rounds.first, rounds.second] if rounds.recursive else rounds.first,
            args=_config(course, folder, recursive=rounds.recursive),
            train_dataset=rounds.rows(),
            processing_class=tokenizer,
            callbacks=[_told(rounds, folder, report)],
        )
        trainer.remove_callback(PrinterCallback)
        last = newest_checkpoint(folder)
        if last is not None and rounds.recursive:
            rounds.recall(last / _ANSWERS)
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
    history = [row for row in trainer.state.log_history if "reward" in row]
    trained = trainer.accelerator.unwrap_model(trainer.model)
    return (merged(trained) if course.lora else trained).eval(), history


def _told(rounds: TrainingRows, folder: Path, report: Report | None) -> Any:
    """A callback of the trainer that reports each iteration and completes its checkpoints."""
    from transformers import TrainerCallback

    class ProgressCallback(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if report is not None and logs and "reward" in logs:
                report(state.global_step, logs)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            # Before the trainer writes its own part of the checkpoint: once that is complete, so is this.
            if control.should_save and rounds.recursive:
                checkpoint = folder / f"checkpoint-{state.global_step}"
                checkpoint.mkdir(parents=True, exist_ok=True)
                rounds.keep(checkpoint / _ANSWERS)

    return ProgressCallback()


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint in `folder`, if any. One that a kill tore while it was written is passed over.

    The trainer writes `trainer_state.json` last, and not in one piece: where it can be read, all the rest is there.
    """
    found = [(int(path.name.partition("-")[2]), path) for path in folder.glob("checkpoint-[0-9]*") if path.is_dir()]
    return next((path for _, path in sorted(found, reverse=True) if _complete(path)), None)


def _complete(checkpoint: Path) -> bool:
    try:
        state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        log.warning("%s was not written to its end and is passed over", checkpoint)
        return False
    return "global_step" in state


def _shown(tokenizer: Any, prompt: str, request: PlanRequest) -> Any:
    """As `checkpoint.prompt_ids` reads it: messages where the tokenizer has a chat template, else a text."""
    asked = PROMPTS[prompt](request)
    if isinstance(asked, str):
        return asked
    if tokenizer.chat_template:
        return [dict(message) for message in asked]
    return "".join(f"{text_of(message.get('content'))}\n\n" for message in asked)


def _config(course: Course, folder: Path, *, recursive: bool) -> Any:
    from trl import GRPOConfig

    cuda = torch.cuda.is_available()
    rows = course.questions * course.group
    micro_batch = course.micro_batch or rows
    # Two reward functions, each normalised within its groups, then weighted: a discount on the reward itself would
    # cancel when the group is normalised.
    rewards: dict[str, Any] = {"scale_rewards": "group"}
    if recursive:
        rewards |= {"multi_objective_aggregation": "normalize_then_sum", "reward_weights": [DISCOUNT, 1.0]}
    config = GRPOConfig(
        output_dir=str(folder),
        loss_type="grpo",
        beta=0.0,
        epsilon=0.2,
        **rewards,
        num_generations=course.group,
        max_completion_length=course.max_tokens,
        temperature=course.temperature,
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=rows // micro_batch,
        max_steps=course.iterations,
        learning_rate=adapted_rate(course.learning_rate, course.lora),
        lr_scheduler_type="cosine",
        warmup_steps=course.warm_up,
        # The exercises come in their own order: a batch of the recursion holds as many of each round.
        shuffle_dataset=False,
        dataloader_pin_memory=cuda,
        seed=course.seed,
        use_cpu=not cuda,
        bf16=cuda,
        gradient_checkpointing=cuda,
        use_vllm=_vllm(course),
        vllm_mode="colocate",
        save_strategy="steps",
        save_steps=course.save_every,
        save_total_limit=2,
        logging_steps=1,
        report_to=[],
        disable_tqdm=True,
    )
    config._n_gpu = min(1, config.n_gpu)  # else a second GPU is a replica for `DataParallel`, which trl refuses
    return config


def adapted(model: Any, rank: int, seed: int) -> Any:
    """The model with new adapters of that rank on every linear layer but the last; they alone are trained."""
    from peft import LoraConfig, get_peft_model

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return get_peft_model(
            model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
        )


def merged(model: Any) -> Any:
    """The plain model, in single precision, that writes what the one with adapters does."""
    return model.float().merge_and_unload().requires_grad_(True)


def adapted_rate(rate: float, rank: int) -> float:
    """The learning rate of adapters where all weights would have `rate`; `rate` itself without adapters (`rank` 0)."""
    return rate * _FASTER if rank else rate


def fitting_rank(model: Any, rank: int) -> int:
    """The rank of the adapters that this memory asks for: 0 where it holds the training of all weights, else `rank`.

    Raises BadInput, naming the memory, where it holds neither, or where the course has no adapters (`rank` 0); naming
    what is to be installed, where adapters are needed and peft is not there.
    """
    where, total = _memory()
    count = sum(parameter.numel() for parameter in model.parameters())
    if _TRAINED * count <= _SHARE * total:
        return 0
    held = _MERGED * count
    wanted, way = (_TRAINED * count, "a `lora` rank in the preset") if not rank else (held, "a smaller conductor")
    if rank and held <= _SHARE * total:
        if importlib.util.find_spec("peft") is None:
            raise BadInput(
                f"{where} holds a training of this conductor with adapters only, and those need peft: install the "
                "extra `lora` (pip install -c constraints.txt -e '.[lora]')",
                "preset",
            )
        return rank
    raise BadInput(
        f"{count / 1e9:.2f} billion parameters take {wanted / 2**30:.0f} GiB beside what the rollouts need, and "
        f"{where} has {total / 2**30:.0f} GiB: it takes {way}, or a larger one",
        "preset",
    )


def _memory() -> tuple[str, int]:
    """What this training's memory is called, and all of its bytes."""
    if torch.cuda.is_available():
        return f"this {torch.cuda.get_device_name()}", torch.cuda.mem_get_info()[1]
    return "this machine", psutil.virtual_memory().total


def _vllm(course: Course) -> bool:
    return course.vllm and torch.cuda.is_available() and importlib.util.find_spec("vllm") is not None


def _tell(course: Course) -> None:
    if course.lora:
        rate = adapted_rate(course.learning_rate, course.lora)
        log.info(
            "adapters of rank %d are trained, since %s does not hold more: at a rate of %.1e, %.0f times the preset's",
            course.lora, _memory()[0], rate, _FASTER,
        )  # fmt: skip
    if course.vllm and not _vllm(course):
        why = "it is not installed" if torch.cuda.is_available() else "there is no GPU"
        log.warning("plans are written by transformers and not by vLLM, since %s", why)
