"""Keys and prompts of one process, its annex and its upstreams, searched for in everything that is written or sent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from itertools import product

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from deployments.endpoint.wire.chat import taken_by
from deployments.endpoint.wire.formats import wire_formats
from models.ledger import registry
from models.ledger.store import Ledger
from models.ledger.tables import metadata
from tests.endpoint.watching.test_metrics import read

pytestmark = pytest.mark.programs

PROMPT, REPLIED, COMPLAINED = "canary-prompt-71", "canary-reply-72", "canary-complaint-73"
WORKER_KEY, AUTHORIZATION, X_API_KEY = "canary-worker-key-74", "canary-authorization-75", "canary-x-api-key-76"
IDEMPOTENCY, SESSION, COOKIE = "canary-idempotency-77", "canary-session-78", "canary-cookie-79"
USER, MODEL = "canary-user-80", "canary-model-81"
SECRETS = (WORKER_KEY, AUTHORIZATION, X_API_KEY, IDEMPOTENCY, SESSION, COOKIE)
SAID = (PROMPT, REPLIED, COMPLAINED, USER, MODEL)

TEXTS = {
    "calls": {"payload", "reply", "error"},
    "tries": {"error"},
    "requests": {"body"},
    "workflows": {"body"},
    "steps": {"body"},
    "tool_calls": {"original", "name", "arguments", "result"},
    "responses": {"body", "input"},
}
"""The ledger's columns that may hold what was said."""

MODES = ("parrot", "refuse", "deny", "fail", "limit", "object", "page", "cut")
"""How the upstream answers: with the prompt and the key, or with an error that quotes them."""

AT_ONCE = ("parrot", "refuse", "deny")
"""Those that are asked in every form: a worker that fails otherwise is waited for while its breaker is open."""

BODIES = {
    "/v1/chat/completions": lambda text: {"messages": [{"role": "user", "content": text}], "user": USER},
    "/v1/responses": lambda text: {"input": text, "user": USER},
    "/v1/messages": lambda text: {
        "messages": [{"role": "user", "content": text}], "max_tokens": 99, "metadata": {"user_id": USER}
    },
    "/v1/completions": lambda text: {"prompt": text, "user": USER},
}  # fmt: skip
"""A request in each wire format; a new one needs an entry."""

HEADERS = {
    "Authorization": f"Bearer {AUTHORIZATION}",
    "x-api-key": X_API_KEY,
    "api-key": X_API_KEY,
    "Cookie": f"session={COOKIE}",
    "X-Session-Id": SESSION,
    "X-Fugu-Trace": "1",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}


class Upstream:
    """Answers by the model's name, and is the receiver of traces, too."""

    def __init__(self) -> None:
        self.sent, self.arrived = list[bytes](), threading.Event()
        routes = [Route("/v1/chat/completions", self.chat, methods=["POST"])]
        self.app = Starlette(routes=[*routes, Route("/v1/traces", self.traces, methods=["POST"])])

    async def traces(self, request: Request) -> Response:
        self.sent.append(await request.body())
        self.arrived.set()
        return Response(b"", media_type="application/x-protobuf")

    async def chat(self, request: Request) -> Response:
        body = await request.json()
        heard = f"{COMPLAINED} {body['messages'][-1]['content']} {request.headers['authorization']}"
        error = {"error": {"message": heard, "type": heard, "code": None}}
        match body["model"]:
            case "refuse":
                return JSONResponse(error, 400)
            case "deny":
                return JSONResponse(error, 401)
            case "fail":
                return JSONResponse(error, 500)
            case "limit":
                return JSONResponse(error, 429, {"Retry-After": "99"})
            case "object":
                return JSONResponse(error)
            case "page":
                return HTMLResponse(f"<html>{heard}</html>")
        text = REPLIED if body["model"] == "cut" else f"{REPLIED} {heard}"
        choice = {"index": 0, "finish_reason": "stop"}
        usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
        found = {"id": "x", "created": 1, "model": body["model"], "usage": usage}
        if not body.get("stream"):
            choice["message"] = {"role": "assistant", "content": text}
            return JSONResponse({**found, "object": "chat.completion", "choices": [choice]})

        async def events():
            choice["delta"] = {"role": "assistant", "content": text}
            yield f"data: {json.dumps({**found, 'object': 'chat.completion.chunk', 'choices': [choice]})}\n\n"
            if body["model"] != "cut":
                yield "data: [DONE]\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")


@pytest.fixture(scope="module")
def found(serving, tmp_path_factory):
    """What was written and sent while every model was asked in every form for every worker, and by a large request."""
    home, upstream = tmp_path_factory.mktemp("home"), Upstream()
    with serving(upstream.app) as url:
        worker = "{{name: {0}, model: openai/{0}, api_base: {1}/v1, key_env: CANARY, price: {{}}}}"
        (home / "pool.yaml").write_text(f"workers: [{', '.join(worker.format(mode, url) for mode in MODES)}]")
        (home / "plan.txt").write_text(f'model_id = [0]\nsubtasks = ["{PROMPT}"]\naccess_list = [[]]')
        ledger = Ledger(f"sqlite:///{home / 'ledger.db'}")
        ledger.create_schema()
        for model in ("fugu", "trinity"):
            registry.promote(ledger, model, {"kind": "worker", "worker": "parrot"}, "test")
        told = {"FUGU_HOME": str(home), "FUGU_POOL": str(home / "pool.yaml"), "CANARY": WORKER_KEY}
        told |= {"FUGU_CONDUCTOR": f"fixed:{home / 'plan.txt'}", "OTEL_EXPORTER_OTLP_ENDPOINT": url}
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("FUGU_", "PREFECT_"))}
        written = tmp_path_factory.mktemp("log") / "log"  # a file: a pipe that nobody reads is full after 100 requests
        with written.open("w") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "deployments.endpoint", "--port", "0"],
                env=environment | told, stdout=subprocess.PIPE, stderr=errors, text=True, cwd="/",
            )  # fmt: skip
        try:
            said = _asked(json.loads(process.stdout.readline())["url"])
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
            log = written.read_text()
        finally:
            process.kill()
            process.communicate()
        files = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    yield {"log": log, "ledger": ledger, "files": files, "sent": upstream.sent, **said}
    ledger.close()


def _asked(url: str) -> dict:
    with httpx.Client(base_url=url, headers=HEADERS, timeout=60) as http:
        until = time.monotonic() + 60
        while not ((ready := http.get("/readyz")).status_code == 200 and ready.json()["conductor"]):
            assert time.monotonic() < until
            time.sleep(0.05)  # it is importing; questions in a row would slow it down
        answers = []
        models = ("fugu", "trinity", "fugu-ultra")
        assert {wire.path for wire in wire_formats(taken_by(()))} <= BODIES.keys()
        for path, model, stream, mode in product(BODIES, models, (False, True), MODES):
            if path != "/v1/chat/completions" and mode not in AT_ONCE:
                continue
            body = {"model": model, "stream": stream, **BODIES[path](f"{PROMPT} {mode} {stream}")}
            answers.append(http.post(path, json=body, headers={"X-Fugu-Workers": mode}))
        wire = wire_formats(taken_by(()))[0]
        asked = {"model": "fugu-ultra", **BODIES[wire.path](PROMPT)}
        answers.append(http.post(wire.path, json=asked, headers={"Idempotency-Key": IDEMPOTENCY}))
        answers.append(http.post(wire.path, json={"model": "fugu", **BODIES[wire.path](PROMPT * 20_000)}))
        answers.append(http.post(wire.path, json={"model": MODEL, **BODIES[wire.path](PROMPT)}))
        answers.append(http.post(wire.path, content=f'{{"{PROMPT}": ', headers={"Content-Type": "application/json"}))
        foreign = {"X-Forwarded-For": "192.0.2.1"}
        paths = "/", f"/requests/{answers[0].headers['X-Request-Id']}", f"/requests/{PROMPT}"
        pages = [http.get(path, headers=foreign) for path in paths]
        return {"answers": answers, "metrics": http.get("/metrics").text, "pages": pages}


def test_the_answers_are_as_they_should_be(found):
    """Otherwise nothing would have been looked for."""
    statuses = [answer.status_code for answer in found["answers"]]
    assert statuses[-4:] == [200, 200, 404, 400]
    assert {200, 400, 502, 429, 503} <= set(statuses) and 500 not in statuses


def test_no_log_page_or_figure_has_a_word_or_a_key(found):
    pages = "".join(page.text for page in found["pages"])
    assert [page.status_code for page in found["pages"]] == [200, 200, 404]
    for sink in (found["log"], found["metrics"], pages):
        assert len(sink) > 1000 and [word for word in (*SECRETS, *SAID) if word in sink] == []


def test_no_file_of_the_home_has_a_key_and_none_but_the_ledger_a_word(found):
    for path, content in found["files"].items():
        own = path.name in ("pool.yaml", "plan.txt")
        words = () if path.name.startswith("ledger.db") or own else (*SECRETS, *SAID)
        assert [word for word in words if word.encode() in content] == [], path
    assert any(path.name == "ledger.db" for path in found["files"])


def test_the_ledger_has_words_in_its_texts_alone_and_keys_of_callers_nowhere(found):
    callers = (AUTHORIZATION, X_API_KEY, IDEMPOTENCY, SESSION, COOKIE)
    with found["ledger"].reading() as connection:
        for table in metadata.sorted_tables:
            rows = connection.execute(table.select()).mappings().all()
            for row, column in product(rows, table.columns):
                is_text = column.name in TEXTS.get(table.name, ())
                words = callers if is_text else (*SECRETS, *SAID)
                assert [word for word in words if word in str(row[column.name])] == [], (table.name, column.name)
        errors = connection.exec_driver_sql("SELECT error FROM tries WHERE error IS NOT NULL").scalars().all()
    assert errors and not any(WORKER_KEY in error for error in errors)


def test_spans_follow_the_conventions_and_hold_no_word(found):
    assert found["sent"] and not [w for w in (*SECRETS, *SAID) for sent in found["sent"] if w.encode() in sent]
    spans = [
        span
        for sent in found["sent"]
        for resource in ExportTraceServiceRequest.FromString(sent).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    by_id = {span.span_id: span for span in spans}
    assert {span.trace_id.hex() for span in spans} == {HEADERS["traceparent"].split("-")[1]}
    servers = [span for span in spans if span.kind == span.SPAN_KIND_SERVER]
    assert len(servers) == len(found["answers"]) and {s.parent_span_id.hex() for s in servers} == {"b7ad6b7169203331"}

    def told(span):
        values = {each.key: each.value for each in span.attributes}
        return {name: getattr(value, value.WhichOneof("value")) for name, value in values.items()}

    ok = [span for span in servers if told(span).get("http.response.status_code") == 200]
    models = ("fugu", "trinity", "fugu-ultra")
    assert {span.name for span in ok} == {f"{what} {model}" for what in ("chat", "text_completion") for model in models}
    figures = told(ok[0])
    assert figures["gen_ai.operation.name"] == "chat" and figures["gen_ai.request.model"] == "fugu"
    assert figures["gen_ai.usage.input_tokens"] == 5 and figures["gen_ai.usage.output_tokens"] == 3
    assert [each.string_value for each in figures["gen_ai.response.finish_reasons"].values] == ["stop"]
    calls = [span for span in spans if span.kind == span.SPAN_KIND_CLIENT]
    assert all(span.parent_span_id in by_id for span in calls)
    assert {"UpstreamRefused", "UpstreamUnavailable"} <= {told(span).get("error.type") for span in calls}
    [conducted] = [span for span in spans if told(span).get("gen_ai.response.id") == found["answers"][-4].json()["id"]]
    [workflow] = [s for s in spans if s.name.startswith("invoke_workflow") and s.parent_span_id == conducted.span_id]
    [step] = [span for span in spans if span.parent_span_id == workflow.span_id]
    [call] = [span for span in spans if span.parent_span_id == step.span_id]
    assert step.name == "step 1" and told(call)["fugu.worker"] == "parrot" and call in calls
    assert step.start_time_unix_nano <= call.start_time_unix_nano <= call.end_time_unix_nano <= step.end_time_unix_nano


def test_the_figures_count_what_the_annex_answered_too(found):
    figures = read(found["metrics"])
    counted = sum(value for key, value in figures.items() if key[0] == "fugu_requests_total")
    assert counted == len(found["answers"])
    assert "answered by process" in found["log"]
    workers = {key[1] for key in figures if key[0] == "fugu_breaker_open"}
    assert workers == set(MODES) and figures["fugu_breaker_open", "deny"] == 1
    in_flight = [value for key, value in figures.items() if key[0].endswith("_in_flight")]
    assert in_flight and not any(in_flight)
    assert not any("prefect" in key[0] for key in figures)
