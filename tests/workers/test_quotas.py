"""What providers say of keys, quotas and rates, as they say it, directly and through litellm."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from models.errors import RateLimited, UpstreamRefused, WorkerOpen, another_may_answer
from models.ledger.providers.breakers import open_breakers
from models.workers.ask import Ask
from models.workers.dispatch import Dispatcher
from models.workers.pool import Pool, Worker
from models.workers.retry import RetryPolicy
from models.workers.upstream import answered, said_wait

ONCE = RetryPolicy(tries=1, open_s=0.0, patience_s=0.0)

OPENAI_QUOTA = {
    "error": {
        "message": "You exceeded your current quota, please check your plan and billing details.",
        "type": "insufficient_quota",
        "param": None,
        "code": "insufficient_quota",
    }
}
ANTHROPIC_MONEY = {
    "type": "error",
    "error": {
        "type": "invalid_request_error",
        "message": "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing.",
    },
}
GEMINI_KEY = {
    "error": {
        "code": 400,
        "message": "API key not valid. Please pass a valid API key.",
        "status": "INVALID_ARGUMENT",
        "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}],
    }
}
DEEPSEEK_MONEY = {
    "error": {"message": "Insufficient Balance", "type": "unknown_error", "code": "invalid_request_error"}
}
XAI_KEY = {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: no. Get one."}
GROQ_MINUTE = {
    "error": {
        "message": "Rate limit reached for model `m` in organization `o` on tokens per minute (TPM): Limit 6000,"
        " Used 5900. Please try again in 7.66s. Visit https://console.groq.com/settings/billing to upgrade.",
        "type": "tokens",
        "code": "rate_limit_exceeded",
    }
}
GEMINI_MINUTE = {
    "error": {
        "code": 429,
        "message": "You exceeded your current quota, please check your plan and billing details. For more on"
        " this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits.\nPlease retry in 38.2s.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {"violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel"}]},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "38s"},
        ],
    }
}
MINUTE_WITHOUT_A_TIME = {"error": {"message": "You exceeded your current quota: 15 requests per minute."}}

LASTING = [
    ("openai/m", "429", OPENAI_QUOTA),
    ("openai/m", "400", ANTHROPIC_MONEY),
    ("openai/m", "400", GEMINI_KEY),
    ("openai/m", "400", XAI_KEY),
    ("openai/m", "402", DEEPSEEK_MONEY),
    ("mistral/m", "429", OPENAI_QUOTA),
    ("anthropic/claude-sonnet-4-5", "400", ANTHROPIC_MONEY),
    ("gemini/gemini-2.5-flash", "400", GEMINI_KEY),
    ("deepseek/deepseek-chat", "402", DEEPSEEK_MONEY),
    ("xai/grok-3", "400", XAI_KEY),
]
PASSING = [
    ("openai/m", GROQ_MINUTE, "", 7.66),
    ("openai/m", GEMINI_MINUTE, "", 38.2),
    ("openai/m", GROQ_MINUTE, "retry-after: 3", 3.0),
    ("openai/m", OPENAI_QUOTA, "retry-after: 20", 20.0),
    ("openai/m", MINUTE_WITHOUT_A_TIME, "", None),
    ("groq/openai/gpt-oss-20b", GROQ_MINUTE, "", 7.66),
    ("gemini/gemini-2.5-flash", GEMINI_MINUTE, "", 38.2),
]


def ask(text="hi"):
    return Ask(scope="s", worker="live", revision="1", messages=({"role": "user", "content": text},))


@pytest.fixture
async def asked(ledger, upstream, monkeypatch):
    """`asked(model, streamed)` -> a function that asks such a worker at the upstream, and its dispatcher."""
    monkeypatch.setenv("UPSTREAM_KEY", "sk-secret")
    made = []

    def make(model, streamed=False):
        worker = Worker(name="live", model=model, api_base=upstream.url, key_env="UPSTREAM_KEY", price={})
        one = Dispatcher(ledger, Pool(name="p", workers=(worker,)), retry=ONCE)
        made.append(one)

        async def send(text):
            if not streamed:
                return await one.ask(ask(text))
            return [chunk async for chunk in one.stream(ask(text))]

        return send, one

    yield make
    for one in made:
        await one.close()


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("model", "status", "body"), LASTING)
async def test_a_key_without_money_and_a_key_that_is_none_open_the_breaker_until_somebody_acts(
    asked, upstream, ledger, model, status, body, streamed
):
    send, dispatcher = asked(model, streamed)
    upstream.script = [(status, body, "")]
    with pytest.raises(UpstreamRefused) as refused:
        await send("one")
    assert another_may_answer(refused.value) and not refused.value.of_the_request
    with pytest.raises(WorkerOpen, match=r"until somebody acts .*(its key is refused|is used up) \(status 40[12]\)"):
        await send("two")
    await dispatcher.breakers.close()
    assert [(row.worker, row.until) for row in open_breakers(ledger)] == [("live", None)]
    assert len(upstream.seen) == 1


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("model", "body", "header", "wait"), PASSING)
async def test_a_limit_per_minute_keeps_the_worker_away_for_as_long_as_it_says(
    asked, upstream, ledger, model, body, header, wait, streamed
):
    send, dispatcher = asked(model, streamed)
    upstream.script = [("429", body, header)]
    with pytest.raises(RateLimited) as limited:
        await send("one")
    assert limited.value.retry_after == wait
    await dispatcher.breakers.close()
    left = [(row.until - datetime.now(UTC)).total_seconds() for row in open_breakers(ledger)]
    assert len(left) == (wait is not None) and all(wait - 5 < each <= wait for each in left)


@pytest.mark.parametrize(
    "message",
    [
        "Invalid value: 'Your credit balance is too low', expected one of 'a'",
        'Invalid message {"message": "API key not valid. Please pass a valid API key."}',
        "Your prompt was filtered: insufficient balance",
    ],
)
async def test_a_refusal_that_quotes_a_caller_says_nothing_of_the_key(asked, upstream, ledger, message):
    send, dispatcher = asked("openai/m")
    upstream.script = [("400", {"error": {"message": message, "code": "invalid_value"}}, "")]
    with pytest.raises(UpstreamRefused) as refused:
        await send("one")
    assert refused.value.status == 400 and refused.value.of_the_request
    await dispatcher.breakers.close()
    assert open_breakers(ledger) == []


WAITS = {
    "Please try again in 7.66s. Need more?": 7.66,
    "Please try again in 6m7.5s.": 367.5,
    "Please try again in 1h2m3s": 3723.0,
    "try again in 120ms": 0.12,
    "Please retry after 26 seconds.": 26.0,
    "Please wait 2 minutes before the next request": 120.0,
    '{"details": [{"retryDelay": "38s"}]}': 38.0,
    '{"retryDelay":"7.5s"}': 7.5,
    "try again in 99999999999999 days": 86_400.0,
    "Please try again later": None,
    "try again in 7 moons": None,
    "": None,
}


@pytest.mark.parametrize("text", WAITS)
def test_a_wait_in_words_is_bounded_as_that_of_a_header(text):
    assert said_wait(text) == (None if WAITS[text] is None else pytest.approx(WAITS[text]))


def test_a_refused_request_is_not_waited_for():
    worker = Worker(name="w", model="openai/m")
    assert isinstance(answered(400, "try again in 5s", worker, {}), UpstreamRefused)
    assert answered(500, "try again in 5s", worker, {}).retry_after is None  # it may quote a caller
