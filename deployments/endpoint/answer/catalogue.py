"""GET /v1/models: the served models, their pinned versions and aliases, in OpenAI's and Anthropic's form."""

from __future__ import annotations

from starlette.convertors import PathConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response

from deployments.endpoint.answer.aliases import Aliases, check_aliases, listed, meant_by
from deployments.endpoint.answer.champions import Champions
from deployments.endpoint.answer.conductor import Conductor
from deployments.endpoint.wire.anthropic.errors import refusal
from deployments.endpoint.wire.anthropic.format import LONG
from deployments.endpoint.wire.anthropic.models import VERSION, model_info, model_page
from deployments.endpoint.wire.problems import unknown_model
from deployments.endpoint.wire.response import FUGU, ULTRA, encode, model_body


class _Name(PathConvertor):
    """A model's name in a path: some have a slash, and none is empty."""

    regex = ".+"


register_url_convertor("model", _Name())


class Catalogue:
    """Raises BadInput for an alias of a model that is not served."""

    def __init__(self, champions: Champions, conductor: Conductor, aliases: Aliases) -> None:
        self._champions, self._conductor, self._aliases = champions, conductor, aliases
        self.names = (*champions.names, ULTRA)
        check_aliases(aliases, self.names)

    async def models(self, request: Request) -> Response:
        served = [self._model(name) for name in self.names]
        pins = [{**each, "id": each["pin"]} for each in served if "pin" in each]
        others = [_alias(name, model, self._model(model.partition("@")[0])) for name, model in listed(self._aliases)]
        found = [*served, *pins, *others]
        return _answer(model_page(found) if VERSION in request.headers else {"object": "list", "data": found})

    async def model(self, request: Request) -> Response:
        """Every name that a question may be put to: also one that an alias with a `*` stands for."""
        asked, is_anthropics = request.path_params["name"], VERSION in request.headers
        own = asked.removesuffix(LONG) if is_anthropics else asked
        meant = meant_by(own, self._aliases, self.names)
        name, at, pin = meant.partition("@")
        if name not in self.names:
            return refusal(request.scope, unknown_model(asked))
        if not at:
            model = self._model(name)
        elif name == ULTRA:
            self._conductor.check_pin(meant, pin)
            model = self._model(name)
        else:
            seat = await self._champions.pinned(name, pin)
            model = model_body(meant, int(seat.champion.since.timestamp()), seat.pin)
        found = {**model, "id": asked} if meant == own else _alias(asked, meant, model)
        return _answer(model_info(found) if is_anthropics else found)

    def _model(self, name: str) -> dict[str, object]:
        # The champion of `fugu` ranks the workers of a conducted request.
        seat = self._champions.seat(FUGU if name == ULTRA else name)
        own = None if seat is None else seat.pin
        pin = self._conductor.pin if name == ULTRA else own
        return model_body(name, int(seat.champion.since.timestamp()) if seat else 0, pin)


def _alias(name: str, meant: str, model: dict[str, object]) -> dict[str, object]:
    """An alias of a model, or of the version that `meant` pins."""
    pin = {"pin": meant} if "@" in meant else {}
    return {**model, **pin, "id": name, "alias_of": meant}


def _answer(body: dict[str, object]) -> Response:
    return Response(encode(body), media_type="application/json")
