from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import models.workers
from models.errors import BadFile, BadInput, MissingKey, NotFound, NoWorkerAllowed
from models.workers.pool import Limits, Pool, Price, Worker

GOOD = """
name: mine
workers:
  - name: small
    model: openai/gpt-5-nano
    key_env: SMALL_KEY
    price: {input_per_million: 0.05, output_per_million: 0.4}
    limits: {max_output_tokens: 1000, concurrency: 2}
    tags: [cheap]
  - name: calc
    model: house/calc
  - name: paper
    model: recorded/paper
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "pool.yaml"
        path.write_text(text)
        return path

    return write


def test_a_pool_file_says_all_of_a_worker(write):
    pool = Pool.load(write(GOOD))
    assert (pool.name, pool.names, pool.indices["paper"]) == ("mine", ("small", "calc", "paper"), 2)
    small, calc, paper = pool.workers
    assert (small.revision, small.limits.concurrency, small.tags) == ("1", 2, ("cheap",))
    assert calc.is_house and paper.is_recorded and not small.is_house
    assert pool.worker("calc") is calc


def test_a_pool_without_a_name_is_called_as_its_file(write):
    assert Pool.load(write(GOOD.replace("name: mine\n", "", 1))).name == "pool"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", None, "valid dictionary"),
        ("name: p\nworkers: [", 2, "not YAML"),
        ("name: p\nworkers:\n\t- x", 3, "not YAML"),
        ("name: p", None, "workers"),
        ("name: p\nworkers: []", 2, "at least 1"),
        ("name: p\nworkers: 3", 2, "valid tuple"),
        ("name: p\ncolour: red\nworkers: [{name: a, model: house/a}]", 2, "colour"),
        (GOOD.replace("tags: [cheap]", "api_key: sk-123"), 9, "api_key"),
        (GOOD.replace("tags: [cheap]", "key_env: sk-123"), 9, "key_env"),
        (GOOD.replace("concurrency: 2", "concurrency: 0"), 8, "greater than 0"),
        (GOOD.replace("0.05", "-0.05"), 7, "greater than or equal to 0"),
        (GOOD.replace("0.05", ".inf"), 7, "finite number"),
        (GOOD.replace("0.05", ".nan"), 7, "finite number"),
        (GOOD.replace("0.05", "'inf'"), 7, "price.input_per_million.*finite number"),
        (GOOD.replace("0.05", "1e9"), 7, "price.input_per_million.*less than or equal"),
        (GOOD.replace("1000", "010"), 8, "010 is no plain"),
        (GOOD.replace("1000", "1:30"), 8, "1:30 is no plain"),
        (GOOD.replace("1000", "1" + "0" * 30), 8, "is no plain"),
        (GOOD.replace("1000", "100000000"), 8, "less than or equal"),
        (GOOD.replace("concurrency: 2", "concurrency: 1000000"), 8, "less than or equal"),
        (GOOD.replace("tags: [cheap]", "timeouts: {total_s: 1e9}"), 9, "less than or equal"),
        (GOOD.replace("tags: [cheap]", "timeouts: {connect_s: -1}"), 9, "greater than 0"),
        (GOOD.replace("1000,", "1000, max_output_tokens: 2,"), 8, "'max_output_tokens' is already on line 8"),
        (GOOD + "workers: [{name: b, model: house/b}]\n", 14, "'workers' is already on line 3"),
        (GOOD.replace("tags: [cheap]", "price: {}"), 9, "'price' is already on line 7"),
        (GOOD.replace("tags: [cheap]", "limit_field: tokens"), 9, "max_completion_tokens"),
        (GOOD.replace("name: mine", "name: !!bool maybe"), 2, "neither true nor false"),
        (GOOD.replace("[cheap]", "[" * 3000 + "]" * 3000), None, "cannot be read"),
        (GOOD.replace("name: calc", "name: 'a, b'"), 10, "without a comma.*'a, b'"),
        (GOOD.replace("name: calc", 'name: "a\\nb"'), 10, "printable ASCII"),
        (GOOD.replace("name: calc", "name: größer"), 10, "printable ASCII"),
        (GOOD.replace("name: calc", "name: ''"), 10, "1 to 200"),
        (GOOD.replace("name: calc", "name: ' calc'"), 10, "outer spaces"),
        (GOOD.replace("name: calc", "name: " + "x" * 201), 10, "1 to 200"),
        (GOOD.replace("name: calc", "name: small"), None, "'small' appears twice"),
        (GOOD.replace("name: calc", "nom: calc"), 10, "name: Field required"),
        (
            GOOD.replace("    price: {input_per_million: 0.05, output_per_million: 0.4}\n", ""),
            4,
            "'small' has no price",
        ),
    ],
)
def test_a_bad_pool_file_gives_one_clear_line(write, text, line, says):
    path = write(text)
    with pytest.raises(BadFile, match=says) as caught:
        Pool.load(path)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(str(path))
    if line is not None:
        assert caught.value.line == line


def test_a_pool_file_that_is_not_there_or_not_text_is_told(write, tmp_path):
    with pytest.raises(BadFile, match="cannot be read"):
        Pool.load(tmp_path / "none.yaml")
    (tmp_path / "pool.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadFile):
        Pool.load(tmp_path / "pool.yaml")


def test_a_mask_follows_the_pools_order_and_names_what_it_does_not_know(write):
    pool = Pool.load(write(GOOD))
    np.testing.assert_array_equal(pool.mask(["paper", "small"]), [True, False, True])
    assert pool.mask().all() and pool.mask(None).shape == (3,)
    with pytest.raises(BadInput, match="'large'"):
        pool.mask(["small", "large"])
    with pytest.raises(NoWorkerAllowed):
        pool.mask([])
    with pytest.raises(NotFound, match=r"'large'.*small, calc, paper"):
        pool.worker("large")


def test_conductors_can_be_asked_but_are_no_rows(write):
    text = "workers: [{name: a, model: house/calc}]\nconductors: [{name: boss, model: openai/m, price: {}}]"
    pool = Pool.load(write(text))
    alone = Pool.load(write("workers: [{name: a, model: house/calc}]"))
    assert pool.worker("boss").model == "openai/m"
    assert (pool.names, pool.fingerprint) == (("a",), alone.fingerprint)
    with pytest.raises(BadInput):
        pool.mask(["boss"])
    for text, says in [("{name: a, model: house/x}", "appears twice"), ("{name: b, model: openai/x}", "no price")]:
        with pytest.raises(BadFile, match=says):
            Pool.load(write("workers: [{name: a, model: house/calc}]\nconductors: [" + text + "]"))


@given(st.text(max_size=250))
def test_a_name_is_taken_only_if_it_can_stand_in_a_header_and_in_a_list(name):
    try:
        worker = Worker(name=name, model="house/a")
    except ValidationError:
        return
    assert [part.strip() for part in f"{worker.name},b".encode("latin-1").decode("latin-1").split(",")] == [name, "b"]
    assert "\n" not in name and "\r" not in name and 1 <= len(name) <= 200


def test_the_fingerprint_holds_names_models_revisions_and_their_order():
    a, b = Worker(name="a", model="house/a"), Worker(name="b", model="house/b")
    pools = [
        (a, b),
        (b, a),
        (a,),
        (a, b.model_copy(update={"stated_revision": "2"})),
        (a, b.model_copy(update={"model": "x"})),
    ]
    prints = [Pool(name="p", workers=workers).fingerprint for workers in pools]
    assert len(set(prints)) == len(pools)
    priced = a.model_copy(update={"price": Price(input_per_million=1)})
    assert Pool(name="q", workers=(priced, b)).fingerprint == prints[0]


def test_the_worst_case_is_bounded_by_bytes_in_and_the_limit_out():
    price = Price(input_per_million=1.0, output_per_million=2.0)
    worker = Worker(name="a", model="openai/a", price=price, limits=Limits(max_output_tokens=100))
    assert worker.worst_usd(1_000_000) == pytest.approx(1.0002)
    assert worker.worst_usd(0, 10) == pytest.approx(20e-6)
    assert worker.worst_usd(0, 10_000) == pytest.approx(200e-6)
    free = Worker(name="b", model="house/b")
    assert free.worst_usd(1_000_000) == 0.0


def test_a_key_comes_from_the_environment_alone(monkeypatch):
    worker = Worker(name="a", model="openai/a", key_env="THE_KEY")
    monkeypatch.setenv("THE_KEY", " sk-1 ")
    assert worker.key() == "sk-1"
    for unfit in (" ", "sk-grün", "sk-1\nsk-2", "sk-\x07", "sk-1 sk-2", "sk-\u200b1"):
        monkeypatch.setenv("THE_KEY", unfit)
        with pytest.raises(MissingKey, match="THE_KEY") as caught:
            worker.key()
        assert "sk-" not in str(caught.value)
    monkeypatch.delenv("THE_KEY")
    with pytest.raises(MissingKey, match="THE_KEY"):
        worker.key()
    assert Worker(name="b", model="house/b").key() is None


def test_the_example_pool_can_be_loaded():
    pool = Pool.load(Path(models.workers.__file__).parents[2] / "data/pools/example.yaml")
    assert pool.name == "example" and pool.worker("desk").worst_usd(1000) == 0.0


FULL = """
x-shared: &shared
  price: {}
  timeouts: {first_token_s: 3}
workers:
  - <<: *shared
    name: calm
    model: openai/m
    params: {temperature: 0.2, reasoning_effort: low}
    max_tokens: 100
  - <<: *shared
    name: wild
    model: openai/m
    params: {temperature: 1.5}
    headers: {x-team: "${TEAM}"}
    key_env: [KEY_A, KEY_B]
  - {name: older, model: openai/m, price: {}, limits: {total_timeout_s: 7, concurrency: 2}}
"""


def test_one_model_may_be_several_workers_and_what_shapes_replies_is_their_revision(write, monkeypatch):
    pool = Pool.load(write(FULL))
    calm, wild, older = pool.workers
    assert len({worker.revision for worker in pool.workers}) == 3 and older.revision == "1"
    assert calm.limits.max_output_tokens == 100 and calm.timeouts.first_token_s == wild.timeouts.first_token_s == 3
    assert (older.timeouts.total_s, older.limits.concurrency) == (7, 2)
    other = Pool.load(write(FULL.replace("KEY_B", "KEY_C").replace("max_tokens: 100", "limits: {concurrency: 1}")))
    assert [worker.revision for worker in other.workers] == [worker.revision for worker in pool.workers]
    monkeypatch.setenv("TEAM", "night")
    assert wild.sent_headers() == {"x-team": "night"}


@pytest.mark.parametrize(
    ("change", "line", "says"),
    [
        (("name: wild", "name: calm"), 12, "'calm' appears twice"),
        (("temperature: 1.5", "api_key: sk-live"), 14, "a key never stands in a file"),
        (("temperature: 1.5", "max_tokens: 5"), 14, "beside params"),
        (("[KEY_A, KEY_B]", "[sk-live-1234]"), 16, "name of an environment variable"),
        (("max_tokens: 100", "max_tokens: 100\n    limits: {max_output_tokens: 5}"), 6, "the same limit"),
        (("timeouts: {first", "timeout: {first"), 4, "Extra inputs"),
        (("max_tokens: 100", "max_tokens: 100\n    limits: 5"), 11, "limits: .*valid dictionary"),
        (("max_tokens: 100", "max_tokens: 100\n    limits: [1]"), 11, "limits: .*valid dictionary"),
        (("max_tokens: 100", "max_tokens: 100\n    limits: []"), 11, "limits: .*valid dictionary"),
        (("max_tokens: 100", "max_tokens: [1]"), 6, "limits.max_output_tokens: .*valid integer"),
        (("max_tokens: 100", "timeouts: 5\n    limits: {total_timeout_s: 7}"), 10, "timeouts: .*valid dictionary"),
        (("max_tokens: 100", "timeouts: [5]\n    limits: {total_timeout_s: 7}"), 10, "timeouts: .*valid dictionary"),
        (("total_timeout_s: 7", "total_timeout_s: soon"), 17, "timeouts.total_s: .*valid number"),
        (('"${TEAM}"', "[1]"), 15, "valid string"),
        (('x-team: "${TEAM}"', "Authorization: Bearer sk-live"), 15, "the header Authorization is a secret"),
        (('x-team: "${TEAM}"', "x-api-key: sk-live"), 15, "the header x-api-key is a secret"),
        (('x-team: "${TEAM}"', "Ocp-Apim-Subscription-Key: $KEY"), 15, "Subscription-Key is a secret"),
        (('"${TEAM}"', '"a\\nb: sk-live"'), 15, "header x-team has to be one line"),
        (("x-team: ", '"x team": '), 15, "'x team' is no name of a header"),
        (("temperature: 1.5", "azure_ad_token: sk-live"), 14, "azure_ad_token is a secret"),
        (("temperature: 1.5", "aws_secret_access_key: sk-live"), 14, "aws_secret_access_key is a secret"),
        (("temperature: 1.5", "extra_body: {api_key: sk-live}"), 14, "api_key is a secret"),
        (("temperature: 1.5", "extra_body: {tools: [{authorization: sk-live}]}"), 14, "authorization is a secret"),
        (("temperature: 1.5", "base_url: http://127.0.0.1:1/v1"), 14, "write api_base beside params"),
        (("params: {temperature: 1.5}", "api_base: localhost:8000/v1"), 14, "api_base is the address"),
        (("params: {temperature: 1.5}", "api_base: ftp://here/v1"), 14, "api_base is the address"),
        (("params: {temperature: 1.5}", "api_base: 'http://'"), 14, "api_base is the address"),
        (("params: {temperature: 1.5}", "api_base: 'http://here:port/v1'"), 14, "api_base is the address"),
        (("params: {temperature: 1.5}", "api_base: http://me:sk-live@here/v1"), 14, "api_base holds a secret"),
        (("params: {temperature: 1.5}", "api_base: https://sk-live@here/v1"), 14, "api_base holds a secret"),
        (("params: {temperature: 1.5}", "api_base: https://here/v1?api_key=sk-live"), 14, "api_base holds a secret"),
        (('x-team: "${TEAM}"', 'Authorization: "Bearer sk-live${TEAM}"'), 15, "the header Authorization is a secret"),
        (('x-team: "${TEAM}"', "X-Token: sk-live"), 15, "the header X-Token is a secret"),
        (('x-team: "${TEAM}"', "X-Vault-Token: sk-live"), 15, "the header X-Vault-Token is a secret"),
        (("temperature: 1.5", "extra_body: {api_key: [sk-live]}"), 14, "api_key is a secret"),
        (("temperature: 1.5", "private_key: sk-live"), 14, "private_key is a secret"),
        (("temperature: 1.5", "aws_bearer_token_bedrock: sk-live"), 14, "aws_bearer_token_bedrock is a secret"),
        (("temperature: 1.5", "vertex_credentials: '{sk-live}'"), 14, "vertex_credentials is a secret"),
        (("temperature: 1.5", "extra_body: {base_url: 'http://here'}"), 14, "write api_base beside params"),
    ],
)
def test_a_wrong_field_of_a_worker_is_one_line_with_its_place(write, change, line, says):
    with pytest.raises(BadFile, match=says) as caught:
        Pool.load(write(FULL.replace(*change)))
    assert "\n" not in str(caught.value) and "sk-live" not in str(caught.value)
    assert caught.value.line == line


@pytest.mark.parametrize(
    "fields",
    [
        {
            "headers": {
                "Authorization": "Bearer ${KEY}",
                "x-api-key": "${KEY}",
                "anthropic-beta": "a,b",
                "X-Title": "Größe",
            }
        },
        {"headers": {"x-max-tokens": "5", "Idempotency-Key": "a"}},
        {
            "params": {
                "extra_body": {"chat_template_kwargs": {"enable_thinking": False}},
                "aws_region_name": "eu-west-1",
            }
        },
        {"params": {"response_format": {"schema": {"properties": {"password": {"type": "string"}}}}}},
        {"params": {"logit_bias": {"50256": -100}, "vertex_credentials": "/etc/fugu/vertex.json"}},
        {"params": {"azure_ad_token": "oidc/google/x", "extra_body": {"eos_token": "</s>"}}},
        {"params": {"aws_secret_access_key": "os.environ/AWS_SECRET"}},
        {"headers": {"Authorization": "Basic ${KEY}"}, "api_base": "https://here/v1?api-version=2"},
        {"api_base": "https://me.openai.azure.com"},
        {"api_base": "http://[::1]:8000/v1"},
    ],
)
def test_what_holds_no_secret_is_taken(fields):
    worker = Worker(name="w", model="openai/m", **fields)
    assert {name: getattr(worker, name) for name in fields} == fields


def test_a_variable_of_a_header_that_is_not_one_line_is_told_without_its_value(monkeypatch):
    monkeypatch.setenv("TEAM", "night\r\nx-other: sk-live")
    with pytest.raises(MissingKey, match=r"variable TEAM of a header is not one line$"):
        Worker(name="w", model="openai/m", headers={"x-team": "${TEAM}"}).check_keys()


def test_a_missing_variable_is_one_line_with_its_place(write, monkeypatch):
    pool = Pool.load(write(FULL))
    monkeypatch.setenv("KEY_A", "sk-a")
    monkeypatch.setenv("KEY_B", "")
    monkeypatch.setenv("TEAM", "night")
    with pytest.raises(MissingKey, match=r"pool.yaml:11: .*KEY_B is empty"):
        pool.check_keys()
