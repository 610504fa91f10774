"""What benchmarks and libraries of routers publish: RouterBench, RouterArena, RouterDC, LLMRouter."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from models.digest import json_digest
from models.grading.forms.reply import NAN, Asked, Replies, Reply, Row, user
from models.grading.forms.rows import kind_of
from models.grading.question import Split

_SPLIT = re.compile(r"(?:^|[-_.])(train|test|validation|valid|val|dev)(?=$|[-_.])")
_MEANS = {"valid": "validation", "val": "validation", "dev": "validation"}
_COST = "|total_cost"
_REPLY = "|model_response"


def routerbench(rows: Iterator[Row]) -> Replies:
    """withmartian/routerbench (arXiv 2403.12031): a row for each question, a column for each model with its score,
    and `MODEL|total_cost` in USD."""
    models: list[str] = []
    for row in rows:
        if not models:
            marked = (name for name in row.value if name.endswith((_COST, _REPLY)))
            models = list(dict.fromkeys(name.rpartition("|")[0] for name in marked))
            if missing := [name for name in models if name not in row.value]:
                raise row.bad(f"no column with the scores of {missing[0]!r}")
        asked = Asked(row.text("sample_id"), row.text("eval_name"), user(_prompt(row)))
        for model in models:
            yield Reply(row, asked, model, row.number(model), usd=row.number(model + _COST))


def _prompt(row: Row) -> str:
    """The prompt, which is often a list of texts, written as Python writes it."""
    prompt: Any = row.value.get("prompt")
    if isinstance(prompt, str) and prompt.startswith("["):
        try:
            prompt = ast.literal_eval(prompt)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return row.text("prompt")
    if isinstance(prompt, Sequence) and not isinstance(prompt, str) and all(isinstance(part, str) for part in prompt):
        return "\n".join(prompt) or row.text("prompt")
    return row.text("prompt")


def routerarena(rows: Iterator[Row]) -> Replies:
    """RouteWorks/RouterArena (arXiv 2510.00202), `cached_results/`: a line for each reply, with its evaluation."""
    for row in rows:
        asked = _in_arena(row, "global_index", "question")
        score, usd = row.number("evaluation_result", "score"), row.number("evaluation_result", "inference_cost")
        yield Reply(row, asked, row.text("llm_selected"), score, usd, *_tokens(row))


def routerarena_predictions(rows: Iterator[Row]) -> Replies:
    """RouterArena's `router_inference/predictions/`: the model that a router chose, and others `for_optimality`."""
    for row in rows:
        asked = _in_arena(row, "global index", "prompt")
        score, usd = row.number("accuracy"), row.number("cost")
        yield Reply(row, asked, row.text("prediction"), score, usd, *_tokens(row, "generated_result"))


def _in_arena(row: Row, index: str, text: str) -> Asked:
    """The question of one of RouterArena's rows; its index is `TASK_NUMBER`."""
    question = row.text(index)
    return Asked(question, question.rpartition("_")[0] or question, user(row.text(text)))


def _tokens(row: Row, *inside: str) -> tuple[float, float]:
    """Input and output tokens of RouterArena's `token_usage`."""
    return row.number(*inside, "token_usage", "input_tokens"), row.number(*inside, "token_usage", "output_tokens")


def routerdc(rows: Iterator[Row]) -> Replies:
    """shuhao02/RouterDC (arXiv 2409.19886), and LLMRouter's `dcrouter_preprocessed/`: `question` and `scores`, the
    means of its own repeats. Task and split are in the file's name, ids are places in the file."""
    for at, row in enumerate(rows):
        scores = row.value["scores"]
        if not isinstance(scores, Mapping) or not scores:
            raise row.bad("scores: worker to score is needed")
        asked = Asked(f"{_stem(row)}-{at}", _task(row), user(row.text("question")), _split(row))
        for worker, score in scores.items():
            yield Reply(row, asked, worker, row.read_number(f"scores.{worker}", score))


def llmrouter(rows: Iterator[Row]) -> Replies:
    """ulab-uiuc/LLMRouter's routing data: a line for each query and model. A query is what LLMRouter says it is: task,
    text, truth and metric."""
    for row in rows:
        query, task, metric = row.text("query"), row.text("task_name"), str(row.value.get("metric") or "")
        key = [task, query, row.value.get("ground_truth"), metric]
        asked = Asked(f"{task[:150]}-{json_digest(key)[:16]}", task, user(query), _split(row), metric)
        yield Reply(
            row,
            asked,
            row.text("model_name"),
            row.number("performance"),
            NAN,
            row.number("input_tokens"),
            row.number("output_tokens"),
            row.number("response_time"),
        )


def llmrouter_lists(rows: Iterator[Row]) -> Replies:
    """LLMRouter's other form: `query`, `llm_name_list`, `perf_list`."""
    for at, row in enumerate(rows):
        names, scores = row.value["llm_name_list"], row.value["perf_list"]
        if not isinstance(names, list) or not isinstance(scores, list) or len(names) != len(scores):
            raise row.bad("perf_list: not one score for each of llm_name_list")
        asked = Asked(f"{_stem(row)}-{at}", _task(row), user(row.text("query")), _split(row))
        for name, score in zip(names, scores, strict=True):
            yield Reply(row, asked, str(name), row.read_number("perf_list", score))


def _stem(row: Row) -> str:
    """The file's name without its endings."""
    name = row.path.name.removesuffix(".gz")
    return name.removesuffix(kind_of(row.path))[:150]


def _task(row: Row) -> str:
    """The file's name without the split, or that of its folder."""
    return _SPLIT.sub("", _stem(row)).strip("-_.") or row.path.parent.name or "all"


def _split(row: Row) -> Split:
    found = _SPLIT.search(_stem(row))
    return cast(Split, _MEANS.get(found[1], found[1])) if found else ""
