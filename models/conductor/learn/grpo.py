"""GRPO with trl: completions of one question are compared with each other, and the better ones made likelier.

Source: Conductor (arXiv 2512.04388): reward 0 / 0.5 / 1 from workflows that were really run, advantages normalised
within the group, the clipped surrogate with ε = 0.2, no KL term. trl's defaults differ (its loss is "dapo"), so all of
it is set here.

`execute`, the caller's function that runs workflows, is called from the training thread. Several devices are
deliberately not supported: of several GPUs the first is used, which CUDA_VISIBLE_DEVICES can select.
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
from models.conductor.learn.practice import Execute, Exercise
from models.conductor.plan.writers import PROMPTS, CheckpointWriter, PlanRequest
from models.errors import BadInput
from models.workers.ask import text_of

log = logging.getLogger(__name__)

_TRAINED, _MERGED = 16, 4
"""Bytes per trained parameter (weight, gradient and AdamW's two moments, in single precision), and per parameter of a
model with merged adapters (in single precision: half would round away most of what the adapters learned)."""

_FASTER = 10.0
"""Learning rate of adapters relative to that of all weights, which a preset gives. Adapters need about ten times it
(Schulman et al., LoRA Without Regret, 2025: in supervised as well as in reinforcement learning)."""

_ANSWERS = "answers.json"
"""A file in a checkpoint of the recursion finetune: the answers that its next second rounds show."""

_SHARE = 0.6
"""The fraction of memory for parameters: the rollouts' keys, values and activations need the rest."""

Report = Callable[[int, Mapping[str, float]], None]
"""(finished iterations, metrics of the last one)"""


@dataclass(frozen=True)
class Course:
    """One run of GRPO; the defaults are Conductor's (arXiv 2512.04388).

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
        """Number of exercises in the whole course."""
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
    """The trained model, and the metrics of each iteration (`earned`: the mean reward).

    Continues from the last checkpoint in `folder`.

    The model is returned in single precision with adapters merged, so that it is saved and served as it was trained.
    `exercises`: `course.exercises` of them, in the order of their use. If some are second rounds this is the recursion
    finetune: rewards are normalised within each group, and those of rounds without recursion are discounted by γ.
    """
    from transformers import PrinterCallback
    from trl import GRPOTrainer

    _log_settings(course)
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
    rows = TrainingRows(exercises, execute, write, lambda request: _shown(tokenizer, prompt, request), course.seed)
    tokenizer.padding_side = "left"
    # The caller's random state is restored: its other draws must not depend on a training.
    with torch.random.fork_rng():
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=rows.rewarded,
            args=_config(course, folder, recursive=rows.recursive),
            train_dataset=rows.rows(),
            processing_class=tokenizer,
            callbacks=[_progress(rows, folder, report)],
        )
        trainer.remove_callback(PrinterCallback)
        last = newest_checkpoint(folder)
        if last is not None and rows.recursive:
            rows.recall(last / _ANSWERS)
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
    history = [row for row in trainer.state.log_history if "reward" in row]
    trained = trainer.accelerator.unwrap_model(trainer.model)
    return (merged(trained) if course.lora else trained).eval(), history


def _progress(rows: TrainingRows, folder: Path, report: Report | None) -> Any:
    """A callback of the trainer that reports each iteration and completes its checkpoints."""
    from transformers import TrainerCallback

    class ProgressCallback(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if report is not None and logs and "reward" in logs:
                report(state.global_step, logs)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            # Before the trainer writes its part of the checkpoint: a complete checkpoint then includes this.
            if control.should_save and rows.recursive:
                checkpoint = folder / f"checkpoint-{state.global_step}"
                checkpoint.mkdir(parents=True, exist_ok=True)
                rows.keep(checkpoint / _ANSWERS)

    return ProgressCallback()


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint in `folder`, if any. One whose writing was interrupted by a kill is skipped.

    The trainer writes `trainer_state.json` last, and not atomically: if it can be read, the rest is complete.
    """
    found = [(int(path.name.partition("-")[2]), path) for path in folder.glob("checkpoint-[0-9]*") if path.is_dir()]
    return next((path for _, path in sorted(found, reverse=True) if _complete(path)), None)


def _complete(checkpoint: Path) -> bool:
    try:
        state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        log.warning("checkpoint %s is incomplete and is skipped", checkpoint)
        return False
    return "global_step" in state


def _shown(tokenizer: Any, prompt: str, request: PlanRequest) -> Any:
    """The prompt as `checkpoint.prompt_ids` reads it: messages if the tokenizer has a chat template, else a text."""
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
    config = GRPOConfig(
        output_dir=str(folder),
        loss_type="grpo",
        beta=0.0,
        epsilon=0.2,
        # The rewards of the recursion finetune are advantages already (`dataset.discounted`).
        scale_rewards="none" if recursive else "group",
        num_generations=course.group,
        max_completion_length=course.max_tokens,
        temperature=course.temperature,
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=rows // micro_batch,
        max_steps=course.iterations,
        learning_rate=adapted_rate(course.learning_rate, course.lora),
        lr_scheduler_type="cosine",
        warmup_steps=course.warm_up,
        # The exercises are ordered already: a batch of the recursion finetune has equally many of each round.
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
    config._n_gpu = min(1, config.n_gpu)  # else a second GPU becomes a `DataParallel` replica, which trl rejects
    return config


def adapted(model: Any, rank: int, seed: int) -> Any:
    """The model with new adapters of that rank on every linear layer but the last; only they are trained."""
    from peft import LoraConfig, get_peft_model

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return get_peft_model(
            model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
        )


def merged(model: Any) -> Any:
    """The plain model, in single precision, with its adapters merged into the weights."""
    return model.float().merge_and_unload().requires_grad_(True)


def adapted_rate(rate: float, rank: int) -> float:
    """The learning rate of adapters, given that of all weights; `rate` itself without adapters (`rank` 0)."""
    return rate * _FASTER if rank else rate


def fitting_rank(model: Any, rank: int) -> int:
    """The rank of the adapters that this memory requires: 0 if it is enough to train all weights, else `rank`.

    Raises BadInput, naming the memory, if it is too small for either, or if the course has no adapters (`rank` 0);
    naming the extra to install, if adapters are needed and peft is missing.
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
                f"{where} can train this conductor with adapters only, which need peft: install the "
                "extra `lora` (pip install -c constraints.txt -e '.[lora]')",
                "preset",
            )
        return rank
    raise BadInput(
        f"{count / 1e9:.2f} billion parameters need {wanted / 2**30:.0f} GiB besides the rollouts' memory, and "
        f"{where} has {total / 2**30:.0f} GiB: use {way}, or more memory",
        "preset",
    )


def _memory() -> tuple[str, int]:
    """The name and total bytes of the memory used for training."""
    if torch.cuda.is_available():
        return f"this {torch.cuda.get_device_name()}", torch.cuda.mem_get_info()[1]
    return "this machine", psutil.virtual_memory().total


def _vllm(course: Course) -> bool:
    return course.vllm and torch.cuda.is_available() and importlib.util.find_spec("vllm") is not None


def _log_settings(course: Course) -> None:
    if course.lora:
        rate = adapted_rate(course.learning_rate, course.lora)
        log.info(
            "training adapters of rank %d, since %s is too small for all weights: "
            "at a rate of %.1e, %.0f times the preset's",
            course.lora, _memory()[0], rate, _FASTER,
        )  # fmt: skip
    if course.vllm and not _vllm(course):
        why = "it is not installed" if torch.cuda.is_available() else "there is no GPU"
        log.warning("plans are generated by transformers and not by vLLM, since %s", why)
