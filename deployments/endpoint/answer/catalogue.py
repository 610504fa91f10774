"""GET /v1/models: the served models, their pinned versions and aliases, in OpenAI's and Anthropic's form."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from deployments.endpoint.answer.aliases import Aliases, check_aliases, listed
from deployments.endpoint.answer.champions import Champions
from deployments.endpoint.answer.conductor import Conductor
from deployments.endpoint.wire.anthropic.errors import refusal
from deployments.endpoint.wire.anthropic.models import VERSION, model_info, model_page
from deployments.endpoint.wire.problems import unknown_model
from deployments.endpoint.wire.response import FUGU, ULTRA, encode, model_body


class Catalogue:
    """Raises BadInput for an alias of a model that is not served."""

    def __init__(self, champions: Champions, conductor: Conductor, aliases: Aliases) -> None:
        self._champions, self._conductor, self._aliases = champions, conductor, aliases
        self.names = (*champions.names, ULTRA)
        check_aliases(aliases, self.names)

    async def models(self, request: Request) -> Response:
        served = [self._model(name) for name in self.names]
        pins = [{**each, "id": each["pin"]} for each in served if "pin" in each]
        others = [
            {**self._model(model.partition("@")[0]), "id": name, "alias_of": model}
            for name, model in listed(self._aliases)
        ]
        found = [*served, *pins, *others]
        return _answer(model_page(found) if VERSION in request.headers else {"object": "list", "data": found})

    async def model(self, request: Request) -> Response:
        asked = request.path_params["name"]
        name, at, pin = asked.partition("@")
        if name not in self.names:
            return refusal(request, unknown_model(asked))
        if not at:
            model = self._model(name)
        elif name == ULTRA:
            self._conductor.check_pin(asked, pin)
            model = {**self._model(name), "id": asked}
        else:
            seat = await self._champions.pinned(name, pin)
            model = model_body(asked, int(seat.champion.since.timestamp()), seat.pin)
        return _answer(model_info(model) if VERSION in request.headers else model)

    def _model(self, name: str) -> dict[str, object]:
        # The champion of `fugu` ranks the workers of a conducted request.
        seat = self._champions.seat(FUGU if name == ULTRA else name)
        own = None if seat is None else seat.pin
        pin = self._conductor.pin if name == ULTRA else own
        return model_body(name, int(seat.champion.since.timestamp()) if seat else 0, pin)


def _answer(body: dict[str, object]) -> Response:
    return Response(encode(body), media_type="application/json")
