"""`POST /v1/feedback`: what a caller says of an answer, as a label apart from the measured ones."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from deployments.endpoint.access.gate import caller_of
from deployments.endpoint.parts import Options
from deployments.endpoint.wire.problems import Problem, problem_of, problem_response
from deployments.endpoint.wire.refusal import validated
from deployments.endpoint.wire.response import encode
from deployments.endpoint.wire.streaming import read_body, refuse_pages
from models.ledger.journal import Journal
from models.ledger.kept.feedback import Feedback, Kind, put_feedback


class FeedbackRequest(BaseModel):
    """`request_id`: the `id` of the answer. `score`: 0, of no use, to 1, right. `kind`: `opinion`, of a person;
    `outcome`, of what the answer was used for, such as tests that passed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    request_id: Annotated[str, Field(min_length=1, max_length=200)]
    score: Annotated[float, Field(ge=0, le=1)]
    kind: Kind = "opinion"


class FeedbackSaid(BaseModel):
    """`created`: when something of this kind was first said of the answer, Unix seconds."""

    object: str = "feedback"
    request_id: str
    score: float
    kind: Kind
    created: int


class Feedbacks:
    """The HTTP handler. What is said again changes nothing; of one kind the last word holds."""

    def __init__(self, journal: Journal, options: Options) -> None:
        self._journal, self._options = journal, options

    async def respond(self, request: Request) -> Response:
        try:
            return Response(encode(await self._said(request)), media_type="application/json")
        except Exception as error:
            return problem_response(problem_of(error))

    async def _said(self, request: Request) -> dict[str, Any]:
        refuse_pages(request)
        body = await read_body(request, self._options.max_body_bytes, self._options.body_s)
        said = validated(body, self._options.bounds, FeedbackRequest.model_validate)
        mine = Feedback(said.request_id, said.kind, said.score, caller_of(request.scope).key)
        # The answer's row may still wait to be written: the journal writes in order.
        first = await self._journal.put(put_feedback(self._journal.ledger, mine), 0.0)
        if first is None:
            message = f"there is no answer {said.request_id!r}"
            raise Problem(404, message, code="request_not_found", param="request_id")
        told = FeedbackSaid(request_id=mine.request, score=mine.score, kind=mine.kind, created=int(first.timestamp()))
        return told.model_dump()
