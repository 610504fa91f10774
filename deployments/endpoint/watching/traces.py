"""Traces for OpenTelemetry, by its conventions for generative models (`gen_ai.*`): ids and figures, no text.

They are off unless OTEL_EXPORTER_OTLP_ENDPOINT (or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) names a receiver; the SDK, an
extra, reads its other variables. A request is a server's span, a call to a worker a client's. Between them a conducted
request has a span for each workflow and each step. They are made from the scopes of the calls, which name both.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from models.workers.ask import AGAIN, Ask, Reply
from models.workers.worker import Worker

log = logging.getLogger(__name__)

RECEIVERS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

SERVICE = "fugu-flows"

FLUSH_S = 2.0
"""Limit for the last spans to be sent when the endpoint stops: less than its supervisor waits."""

PROVIDERS = {
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "vertex_ai": "gcp.vertex_ai",
    "mistral": "mistral_ai",
    "xai": "x_ai",
}
"""litellm's names of providers where OpenTelemetry has others."""

_NESTED = re.compile(r"(.*)/s(\d+)/\d+")


class Traces:
    """Makes spans, and sends them in the background. `close` sends what is left."""

    def __init__(self, tracer: Tracer, provider: Any) -> None:
        self.tracer, self._provider = tracer, provider

    def close(self) -> None:
        """Blocks for up to FLUSH_S: a receiver that hangs must not keep the endpoint from ending."""
        last = threading.Thread(target=self._provider.shutdown, daemon=True)
        last.start()
        last.join(FLUSH_S)


def open_traces() -> Traces | None:
    """As the variables say; `None` where no receiver is named, or the extra is missing, which the log says."""
    if not any(os.environ.get(name) for name in RECEIVERS):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning("no traces are sent, although a receiver is named: pip install 'fugu-flows[otel]'")
        return None
    named = os.environ.get("OTEL_SERVICE_NAME") or SERVICE
    # It is no global provider: what libraries trace by themselves may hold texts.
    provider = TracerProvider(resource=Resource.create({"service.name": named}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Traces(provider.get_tracer("fugu"), provider)


class RequestTrace:
    """The spans of one request. The caller's `traceparent` makes it a part of the caller's own trace."""

    def __init__(self, tracer: Tracer, path: str, headers: Mapping[str, str]) -> None:
        self._tracer = tracer
        self._operation = "text_completion" if path == "/v1/completions" else "chat"
        carried = {name.lower(): value for name, value in headers.items()}
        above = TraceContextTextMapPropagator().extract(carried)
        told = {"gen_ai.operation.name": self._operation, "gen_ai.provider.name": "fugu"}
        told |= {"http.request.method": "POST", "http.route": path, "url.path": path}
        self.span = tracer.start_span(self._operation, above, SpanKind.SERVER, told)
        self._inner: dict[str, _Inner] = {}
        self._open, self._ended, self._conducted = 0, False, False

    @property
    def id(self) -> str:
        """The trace's id, in hexadecimal."""
        return f"{self.span.get_span_context().trace_id:032x}"

    def asked(self, model: str, stream: bool, conducted: bool) -> None:
        """What is asked for is known. `model`: a served one."""
        self._conducted = conducted
        self.span.update_name(f"{self._operation} {model}")
        self.span.set_attributes({"gen_ai.request.model": model, "gen_ai.request.stream": stream})

    def begin_call(self, ask: Ask, worker: Worker, stream: bool) -> CallTrace:
        """The span of a call that is about to be sent."""
        provider, _, name = worker.model.rpartition("/")
        provider = provider.partition("/")[0] or "openai"
        told: dict[str, Any] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": PROVIDERS.get(provider, provider),
            "gen_ai.request.model": name,
            "gen_ai.request.stream": stream,
            "fugu.worker": worker.name,
        }
        for field in ("temperature", "top_p", "max_tokens", "seed"):
            if (value := getattr(ask.sampling, field)) is not None:
                told[f"gen_ai.request.{field}"] = value
        above = self._above(ask)
        context = set_span_in_context(above[-1].span if above else self.span)
        self._open += 1
        return CallTrace(self._tracer.start_span(f"chat {name}", context, SpanKind.CLIENT, told), above)

    def end_call(self, call: CallTrace, reply: Reply | None, error: BaseException | None) -> None:
        """`error`: of a call without a reply; its class alone is told, since its message may quote what was said."""
        span = call.span
        if reply is not None:
            span.set_attributes(
                {
                    "gen_ai.response.id": reply.call_id,
                    "gen_ai.response.finish_reasons": [reply.finish_reason],
                    "gen_ai.usage.input_tokens": reply.usage.prompt_tokens,
                    "gen_ai.usage.output_tokens": reply.usage.completion_tokens,
                    "gen_ai.usage.cache_read.input_tokens": reply.usage.cached_tokens,
                    "gen_ai.usage.reasoning.output_tokens": reply.usage.reasoning_tokens,
                    "fugu.cost_usd": reply.cost_usd,
                }
            )
        if error is not None:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(Status(StatusCode.ERROR))
        span.end()
        self._open -= 1
        for inner in call.above:
            inner.until = time.time_ns()
        self._end_inner()

    def end(self, status: int, error: str | None, told: Mapping[str, Any]) -> None:
        """The request is over; calls that go on for a later sender of the same key still belong to it."""
        self.span.set_attributes({name: value for name, value in told.items() if value is not None})
        self.span.set_attribute("http.response.status_code", status)
        if error is not None:
            self.span.set_attribute("error.type", error)
            self.span.set_status(Status(StatusCode.ERROR) if status >= 500 else Status(StatusCode.UNSET))
        self.span.end()
        self._ended = True
        self._end_inner()

    def _end_inner(self) -> None:
        if self._ended and not self._open:
            for inner in self._inner.values():
                inner.span.end(inner.until)
            self._inner.clear()

    def _above(self, ask: Ask) -> list[_Inner]:
        """The workflow and the step that a call of a conducted request belongs to, with those around them."""
        if not self._conducted:
            return []
        above = self._workflow(ask.scope)
        # The calls that write a plan count down from -1.
        return above if ask.replicate < 0 else self._step(above, ask.scope, ask.replicate % AGAIN)

    def _workflow(self, scope: str) -> list[_Inner]:
        nested = _NESTED.fullmatch(scope)
        around = [] if nested is None else self._step(self._workflow(nested[1]), nested[1], int(nested[2]))
        told = {"gen_ai.operation.name": "invoke_workflow", "gen_ai.workflow.name": "workflow", "fugu.workflow": scope}
        return self._within(around, scope, "invoke_workflow workflow", told)

    def _step(self, around: list[_Inner], scope: str, index: int) -> list[_Inner]:
        told = {"fugu.workflow": scope, "fugu.step": index + 1}
        return self._within(around, f"{scope}#{index}", f"step {index + 1}", told)

    def _within(self, around: list[_Inner], key: str, name: str, told: Mapping[str, Any]) -> list[_Inner]:
        """`around`, and the span of this name, made where it is not there yet."""
        if key not in self._inner:
            context = set_span_in_context(around[-1].span if around else self.span)
            self._inner[key] = _Inner(self._tracer.start_span(name, context, SpanKind.INTERNAL, told))
        return [*around, self._inner[key]]


class _Inner:
    """A workflow's or a step's span; it ends with the last call within it."""

    def __init__(self, span: Span) -> None:
        self.span, self.until = span, time.time_ns()


@dataclass(frozen=True)
class CallTrace:
    """The span of a call, and those that it is within."""

    span: Span
    above: list[_Inner]
