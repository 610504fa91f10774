"""Recorded scores of every known form become one value; what is wrong with a file is one line that names it."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from models.errors import BadFile, BadInput
from models.grading.scores import FORMS, read_scores


def lines(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def listed(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(list(rows), indent=2))
    return path


def own(id: str, scores: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": id, "task": "t", "question": f"What is {id}?", "scores": scores, **more}


def test_holes_are_nan_and_repeats_have_a_standard_error(tmp_path: Path) -> None:
    file = lines(
        tmp_path / "s.jsonl",
        own("q0", {"a": [1, 0, 1, 0], "b": None}, split="train"),
        own("q1", {"b": 0.25}),
        own("q2", {"a": 1, "b": True}, split="test"),
    )
    found = read_scores(file)
    assert (found.form, found.workers, found.ids) == ("own", ("a", "b"), ("q0", "q1", "q2"))
    np.testing.assert_array_equal(found.scores, [[0.5, np.nan], [np.nan, 0.25], [1, 1]])
    np.testing.assert_array_equal(found.repeats, [[4, 0], [0, 1], [1, 1]])
    np.testing.assert_array_equal(found.complete, [False, False, True])
    np.testing.assert_allclose(found.stderr[0, 0], np.std([1, 0, 1, 0], ddof=1) / 2)
    assert np.isnan(found.stderr).sum() == 5
    assert found.splits == ("train", "", "test")


@pytest.mark.parametrize("repeated", ["list", "lines", "replies"])
def test_repeats_may_be_a_list_lines_with_a_number_or_lines_of_replies(tmp_path: Path, repeated: str) -> None:
    rows = {
        "list": [own("q", {"a": [1, 0], "b": [0, 0]})],
        "lines": [own("q", {"a": 1 - n, "b": 0}, repeat=n) for n in range(2)],
        "replies": [
            {"id": "q", "task": "t", "question": "What is q?", "worker": worker, "score": score}
            for worker, score in (("a", 1), ("b", 0), ("b", 0), ("a", 0))
        ],
    }[repeated]
    found = read_scores(lines(tmp_path / "s.jsonl", *rows))
    np.testing.assert_array_equal(found.scores, [[0.5, 0]])
    np.testing.assert_array_equal(found.repeats, [[2, 2]])


def test_costs_tokens_and_latency_are_read_where_they_are_given(tmp_path: Path) -> None:
    more = {
        "costs": {"a": [0.01, 0.03]},
        "tokens": {"a": [{"prompt": 10, "completion": 5}, {"prompt": 10, "completion": 15}], "b": 7},
        "latency": {"b": 2.5},
    }
    found = read_scores(lines(tmp_path / "s.jsonl", own("q", {"a": [1, 0], "b": 1}, **more)))
    np.testing.assert_allclose(found.costs, [[0.02, np.nan]])
    np.testing.assert_allclose(found.tokens, [[20, 7]])
    np.testing.assert_allclose(found.seconds, [[np.nan, 2.5]])


def test_messages_stand_in_place_of_a_question(tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    found = read_scores(
        lines(tmp_path / "s.jsonl", {"id": "q", "task": "t", "messages": turns, "scores": {"a": 1, "b": 0}})
    )
    assert list(found.messages[0]) == turns
    assert found.texts == ("Be brief.\nHi",)


def test_a_compressed_file_reads_as_the_file(tmp_path: Path) -> None:
    file = lines(tmp_path / "s.jsonl", own("q", {"a": 1, "b": 0}))
    packed = tmp_path / "s.jsonl.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    np.testing.assert_array_equal(read_scores(packed).scores, read_scores(file).scores)


BENCH = {
    "sample_id": "mbpp.dev.1",
    "prompt": "['Write a function.', 'Be brief.']",
    "eval_name": "mbpp",
    "gpt-4": 1.0,
    "claude-v2": 0.25,
    "gpt-4|model_response": "['def f(): ...']",
    "gpt-4|total_cost": 0.01,
    "claude-v2|total_cost": 0.006,
    "oracle_model_to_route_to": "gpt-4",
}


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_routerbench_has_a_column_for_each_model_and_its_cost(tmp_path: Path, suffix: str) -> None:
    rows = [BENCH, BENCH | {"sample_id": "mbpp.dev.2", "claude-v2": None, "claude-v2|total_cost": None}]
    file = tmp_path / f"bench{suffix}"
    if suffix == ".csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, ["", *BENCH])
        writer.writeheader()
        writer.writerows({"": n, **row} for n, row in enumerate(rows))
        file.write_text(text.getvalue())
    elif suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    else:
        lines(file, *rows)
    found = read_scores(file)
    assert (found.form, found.workers, found.tasks) == ("routerbench", ("gpt-4", "claude-v2"), ("mbpp", "mbpp"))
    np.testing.assert_array_equal(found.scores, [[1, 0.25], [1, np.nan]])
    np.testing.assert_array_equal(found.costs, [[0.01, 0.006], [0.01, np.nan]])
    assert found.texts[0] == "Write a function.\nBe brief."


def arena(question: str, model: str, score: float | None, run: int = 1) -> dict[str, Any]:
    return {
        "global_index": question,
        "question": f"Question: {question}",
        "llm_selected": model,
        "generated_answer": "\\boxed{D}",
        "token_usage": {"input_tokens": 100, "output_tokens": 20, "total_tokens": 120},
        "success": True,
        "evaluation_result": None if score is None else {"score": score, "metric": "mcq", "inference_cost": 3e-5},
        "run_number": run,
    }


def test_routerarena_has_a_file_of_replies_for_each_model(tmp_path: Path) -> None:
    lines(tmp_path / "cached_results" / "a.jsonl", arena("AIME_1", "a", 1.0), arena("ArcMMLU_7", "a", None))
    lines(
        tmp_path / "cached_results" / "b.jsonl",
        arena("AIME_1", "b", 0),
        arena("AIME_1", "b", 1, 2),
        arena("ArcMMLU_7", "b", 1),
    )
    found = read_scores(tmp_path / "cached_results")
    assert (found.form, found.tasks) == ("routerarena", ("AIME", "ArcMMLU"))
    np.testing.assert_array_equal(found.scores, [[1, 0.5], [np.nan, 1]])
    np.testing.assert_allclose(found.costs[0], [3e-5, 3e-5])
    np.testing.assert_allclose(found.tokens[0], [120, 120])
    assert found.notes == ("1 replies that have no score are left out",)


def test_routerarena_predictions_are_the_replies_that_a_router_chose(tmp_path: Path) -> None:
    row = {
        "global index": "AIME_1",
        "prompt": "Question: 1",
        "generated_result": {"token_usage": {"input_tokens": 9, "output_tokens": 1}},
    }
    file = listed(
        tmp_path / "router.json",
        row | {"prediction": "a", "cost": 0.1, "accuracy": 1.0, "for_optimality": False},
        row | {"prediction": "b", "cost": 0.2, "accuracy": 0.0, "for_optimality": True},
    )
    found = read_scores(file)
    assert found.form == "routerarena"
    np.testing.assert_array_equal(found.scores, [[1, 0]])
    np.testing.assert_array_equal(found.costs, [[0.1, 0.2]])


def test_routerdc_has_task_and_split_in_the_names_of_its_files(tmp_path: Path) -> None:
    listed(tmp_path / "gsm8k-train.json", {"question": "1 + 1?", "scores": {"x/a": 0.9, "x/b": 0.1}, "cluster_id": 3})
    listed(tmp_path / "gsm8k-test.json", {"question": "2 + 2?", "scores": {"x/b": 1.0, "x/a": 0.0}})
    found = read_scores(tmp_path)
    assert (found.form, found.workers) == ("routerdc", ("x/b", "x/a"))
    assert found.tasks == ("gsm8k", "gsm8k") and set(found.splits) == {"train", "test"}
    assert read_scores(tmp_path / "gsm8k-train.json").splits == ("",)


def test_llmrouter_has_a_line_for_each_query_and_model(tmp_path: Path) -> None:
    row = {
        "task_name": "gsm8k",
        "query": "4 - 2?",
        "ground_truth": "2",
        "metric": "GSM8K",
        "choices": None,
        "task_id": None,
    }
    made = {"token_num": 12, "input_tokens": 10, "output_tokens": 2, "response_time": 1.5, "embedding_id": 0}
    found = read_scores(
        lines(
            tmp_path / "default_routing_train_data.jsonl",
            row | made | {"model_name": "a", "performance": 1.0},
            row | made | {"model_name": "b", "performance": 0.0},
            row | made | {"query": "5 - 2?", "ground_truth": "3", "model_name": "b", "performance": 0.5},
        )
    )
    assert (found.form, found.tasks) == ("llmrouter", ("gsm8k", "gsm8k"))
    np.testing.assert_array_equal(found.scores, [[1, 0], [np.nan, 0.5]])
    np.testing.assert_array_equal(found.seconds[0], [1.5, 1.5])
    np.testing.assert_array_equal(found.tokens[0], [12, 12])


def test_llmrouter_lists_of_models_and_performances(tmp_path: Path) -> None:
    row = {"query": "Who wrote 1984?", "llm_name_list": ["a", "b"], "perf_list": [0.6, 0.95]}
    found = read_scores(listed(tmp_path / "router_train_data_nq.json", row))
    assert found.form == "llmrouter"
    np.testing.assert_array_equal(found.scores, [[0.6, 0.95]])


def zero(task: str, id: str, answer: str, said: str) -> dict[str, Any]:
    return {
        "session_id": id,
        "chat_history": ["## Question"],
        "output": [said],
        "generator": "google/gemma",
        "dataset": task,
        "id": id,
        "question": f"Question {id}?",
        "answer": answer,
    }


@pytest.mark.parametrize(
    ("task", "answer", "said", "right"),
    [
        ("gsm", "# 70000", '```json\n{"reasoning": "...", "answer": "$70,000"}\n```', True),
        ("gsm", "# 70000", '{"reasoning": "...", "answer": 70000}', True),
        ("gsm", "# 70000", '{"reasoning": "a "quote" inside", "answer": "-10000"}', False),
        ("gsm", "# 70000", "I do not know.", False),
        ("math-l5", "\\frac{3}{4}", '{"reasoning": "x", "answer": "\\\\frac{3}{4}"}', True),
        ("crux", "[(4, 1), (2, 3)]", '{"reasoning": "x", "answer": "[(4,1),(2,3)]"}', True),
        ("crux", "'ab'", '{"reasoning": "x", "answer": "\'aB\'"}', False),
        ("crux", "'ab'", '{"reasoning": "x", "answer": "ab"}', False),
        ("crux", "{1: None}", '{"reasoning": "x", "answer": "__import__(\'os\').getcwd()"}', False),
    ],
)
def test_zeroeval_replies_are_scored_by_their_json_answer(
    tmp_path: Path, task: str, answer: str, said: str, right: bool
) -> None:
    listed(tmp_path / "result_dirs" / task / "model@host.json", zero(task, "#0", answer, said))
    listed(tmp_path / "result_dirs" / task / "other.json", zero(task, "#0", answer, '{"answer": "no"}'))
    listed(tmp_path / "result_dirs" / f"{task}.summary.json", {"Model": "model@host", "Acc": "50"})
    found = read_scores(tmp_path / "result_dirs")
    assert (found.form, found.tasks, found.workers) == ("zeroeval", (task,), ("model@host", "other"))
    np.testing.assert_array_equal(found.scores, [[float(right), 0]])
    assert found.notes == ("1 files that are of no known form are left out",)


@pytest.mark.parametrize("laid", ["folders", "files", "archives"])
def test_mmlu_pro_replies_are_scored_by_the_letter_that_was_read(tmp_path: Path, laid: str) -> None:
    row = {
        "question_id": 70,
        "question": "Which?",
        "options": ["Red", "Green", "Blue"],
        "answer": "B",
        "answer_index": 1,
        "category": "business",
    }
    for model, pred in (("gpt4o", "B"), ("Yi-6B", None)):
        rows = [row | {"pred": pred, "model_outputs": "The answer is ..."}]
        if laid == "folders":
            listed(tmp_path / model / "business_result.json", *rows)
            (tmp_path / model / "business_summary.json").write_text('{"business": {"acc": 1}}')
        elif laid == "files":
            listed(tmp_path / f"model_outputs_{model}_5shots.json", *rows)
        else:
            with zipfile.ZipFile(tmp_path / f"model_outputs_{model}_5shots.zip", "w") as archive:
                archive.writestr(f"model_outputs_{model}_5shots.json", json.dumps(rows))
    found = read_scores(tmp_path)
    assert (found.form, found.ids, found.tasks) == ("mmlu-pro", ("mmlupro-70",), ("business",))
    assert dict(zip(found.workers, found.scores[0], strict=True)) == {"gpt4o": 1, "Yi-6B": 0}
    assert found.texts == ("Which?\nA. Red\nB. Green\nC. Blue",)


GOOD = json.dumps(own("q0", {"a": 1, "b": 0})) + "\n"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (GOOD + json.dumps(own("q1", {"a": 1.5})), 2, "scores.a"),
        (GOOD + json.dumps(own("q1", {"a": -0.5})), 2, "scores.a"),
        (GOOD + '{"id": "q1", "task": "t", "question": "?", "scores": {"a": NaN}}', 2, "NaN is not a number"),
        (GOOD + json.dumps(own("q1", {"a": "nan"})), 2, "scores.a"),
        (GOOD + GOOD, 2, "is already on line 1"),
        (GOOD + json.dumps(own("q1", {"a": 1}, costs={"b": 1})), 2, "costs.b: not one for each score"),
        (GOOD + json.dumps(own("q1", {"a": None, "b": []})), 2, "no worker has one"),
        (GOOD + json.dumps(own("q1", {"a": 1}, colour="red")), 2, "colour"),
        (GOOD + json.dumps({"id": "q1", "task": "t", "scores": {"a": 1}}), 2, "question or messages"),
        (GOOD + "[1]", 2, "an object is needed"),
        (GOOD + "{", 2, "not JSON"),
        (json.dumps(own("q0", {"a": 1})), 1, "one worker only, 'a'"),
        ("", 1, "holds no score"),
        ("\n\n", 1, "holds no score"),
        ('{"name": "x"}', 1, "of no known form"),
        ('{"id": "q", "task": "t", "question": "?"}', 1, "scores: Field required"),
    ],
)
def test_what_is_wrong_is_one_line_with_file_and_line(tmp_path: Path, text: str, line: int, says: str) -> None:
    file = tmp_path / "s.jsonl"
    file.write_text(text)
    with pytest.raises(BadFile) as error:
        read_scores(file)
    assert str(error.value).startswith(f"{file}:{line}: ") and says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("score", ["2", "-0.1", "nan", "good"])
def test_a_bad_score_of_another_form_is_named_by_its_line(tmp_path: Path, score: str) -> None:
    file = tmp_path / "bench.csv"
    file.write_text(
        f'sample_id,prompt,eval_name,a,b,a|total_cost,b|total_cost\n1,"two\nlines",t,1,1,0,0\n2,text,t,1,{score},0,0\n'
    )
    with pytest.raises(BadFile) as error:
        read_scores(file)
    assert error.value.line == 4


def test_an_item_of_a_list_is_named_by_the_line_where_it_begins(tmp_path: Path) -> None:
    file = listed(
        tmp_path / "t.json", {"question": "?", "scores": {"a": 1, "b": 0}}, {"question": "!", "scores": {"a": 9}}
    )
    with pytest.raises(BadFile, match="not in"):
        read_scores(file)
    first = file.read_text().split("\n")
    try:
        read_scores(file)
    except BadFile as error:
        assert error.line is not None and first[error.line - 1].strip() == "{" and '"!"' in first[error.line]


def test_a_form_can_be_named_and_must_fit(tmp_path: Path) -> None:
    file = lines(tmp_path / "s.jsonl", own("q", {"a": 1, "b": 0}))
    assert read_scores(file, "own").form == "own"
    with pytest.raises(BadFile, match="not of form 'routerbench'"):
        read_scores(file, "routerbench")
    with pytest.raises(BadInput, match="routerbench") as error:
        read_scores(file, "bench")
    assert all(form in str(error.value) for form in FORMS)


@pytest.mark.parametrize("name", ["scores.pkl", "missing.jsonl", "broken.jsonl.gz", "broken.parquet", "broken.zip"])
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, name: str) -> None:
    if not name.startswith("missing"):
        (tmp_path / name).write_bytes(b"\x80\x04nothing")
    with pytest.raises(BadFile) as error:
        read_scores(tmp_path / name)
    assert name in str(error.value) and "\n" not in str(error.value)


def test_an_empty_folder_and_one_of_two_forms_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadFile, match="folder"):
        read_scores(tmp_path / "empty")
    lines(tmp_path / "two" / "a.jsonl", own("q", {"a": 1, "b": 0}))
    lines(tmp_path / "two" / "b.jsonl", arena("AIME_1", "a", 1.0))
    with pytest.raises(BadFile, match="files before it"):
        read_scores(tmp_path / "two")


def test_another_wording_of_an_id_is_an_error_of_ours_and_left_out_of_others(tmp_path: Path) -> None:
    reply = {"id": "q", "task": "t", "question": "One?", "worker": "a", "score": 1}
    with pytest.raises(BadFile, match="another text on line 1"):
        read_scores(lines(tmp_path / "s.jsonl", reply, reply | {"question": "Two?"}))
    rows = [arena("AIME_1", "a", 1.0), arena("AIME_1", "b", 0.0), arena("AIME_1", "b", 1.0) | {"question": "Other"}]
    found = read_scores(lines(tmp_path / "r.jsonl", *rows))
    np.testing.assert_array_equal(found.scores, [[1, 0]])
    assert "another wording" in found.notes[0]
