"""The pool file that `fugu init` writes: workers from providers with keys, from models by name, from a server."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import yaml
from pydantic import BaseModel, ConfigDict, Field

from deployments.begin.knowledge import known
from models.errors import BadInput
from models.files import read_yaml, staged
from models.workers.pool import Limits, Pool, Price
from tasks.machines.addresses import LOOPBACK

ASK_S = 10.0
"""Seconds within which a server must list its models."""

HEADER = """\
# Written by `fugu init`. The order matters: a worker's place is its row in a learned router.
# `fugu pool check {file}` says what is known of each worker; data/pools/example.yaml shows what else can be said.
"""


class Provider(BaseModel):
    """An entry of `data/providers.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key_env: str
    models: tuple[str, ...] = Field(min_length=1)

    @property
    def has_key(self) -> bool:
        return bool(os.environ.get(self.key_env, "").strip())


def providers(file: Path) -> dict[str, Provider]:
    """The providers by name. Raises BadFile."""
    document = read_yaml(file)
    return {name: document.entry(Provider, name, "provider") for name in document.value}


@dataclass(frozen=True)
class Entry:
    """A worker to be: litellm's name of its model, its key's variable, its server; `price`: `None` for litellm's."""

    model: str
    key_env: str | None = None
    api_base: str | None = None
    price: Price | None = None


def of_provider(name: str, among: dict[str, Provider]) -> list[Entry]:
    """Workers from a provider's models. Raises BadInput for one that is unknown or has no key."""
    if name not in among:
        raise BadInput(f"no provider {name!r}; there are {', '.join(among)} (any other: --model NAME)", "provider")
    if not among[name].has_key:
        raise BadInput(f"provider {name!r}: the environment variable {among[name].key_env} is empty", "provider")
    return [Entry(model, key_env=among[name].key_env) for model in among[name].models]


def of_model(
    model: str, key_env: str | None, api_base: str | None, price: Price | None, among: Iterable[Provider]
) -> Entry:
    """A worker from a model's name; with an address of a server, the name may be the server's own. A server on this
    machine is free unless a price is given."""
    if api_base is not None:
        here = urlsplit(api_base).hostname in LOOPBACK
        named = model if model.startswith("openai/") else f"openai/{model}"
        return Entry(named, key_env, api_base, price or (Price() if here else None))
    prefix = model.partition("/")[0]
    mine = (provider.key_env for provider in among if provider.models[0].startswith(f"{prefix}/"))
    return Entry(model, key_env or next(mine, None), None, price)


def served_by(api_base: str, key_env: str | None) -> list[str]:
    """The names of the models of an OpenAI-compatible server. Raises BadInput where it does not tell them."""
    _check_variable(key_env)
    key = os.environ.get(key_env or "", "").strip()
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        reply = httpx.get(f"{api_base.rstrip('/')}/models", headers=headers, timeout=ASK_S)
        found = [str(each["id"]) for each in reply.raise_for_status().json()["data"]]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise BadInput(f"{api_base} does not list its models ({reason}): name one with --model", "api_base") from None
    if not found:
        raise BadInput(f"{api_base} serves no model", "api_base")
    return found


def write(file: Path, entries: Sequence[Entry]) -> Pool:
    """Write the pool file, and read it again. Raises BadInput, before anything is written, for a model without a price
    and for a key in place of its variable."""
    names: list[str] = []
    workers = []
    for entry in entries:
        _check_variable(entry.key_env)
        names.append(_name(entry.model, names))
        workers.append(_fields(names[-1], entry))
    with staged(file) as out:
        out.write(HEADER.format(file=file.name) + yaml.safe_dump({"workers": workers}, sort_keys=False, width=100))
    return Pool.load(file)


def _check_variable(name: str | None) -> None:
    """Raises BadInput, without repeating it, for what may be a key itself."""
    if name is not None and not (name.isascii() and name.isidentifier()):
        raise BadInput("a key never stands in a file: name the environment variable that holds it", "key_env")


def price_of(entry: Entry) -> Price | None:
    """The entry's own price, else that of litellm's map."""
    return entry.price or known(entry.model).price


def _fields(name: str, entry: Entry) -> dict[str, object]:
    found, price = known(entry.model), price_of(entry)
    if price is None:
        raise BadInput(f"litellm knows no price of {entry.model!r}: say it with --price IN OUT", "price")
    most = Limits().max_output_tokens if found.most is None else min(Limits().max_output_tokens, found.most)
    fields: dict[str, object] = {"name": name, "model": entry.model}
    if entry.key_env is not None:
        fields["key_env"] = entry.key_env
    if entry.api_base is not None:
        fields["api_base"] = entry.api_base
    return fields | {"price": price.model_dump(exclude_none=True), "limits": {"max_output_tokens": most}}


def _name(model: str, taken: Sequence[str]) -> str:
    """A short name that no other worker has."""
    short = re.sub(r"[^A-Za-z0-9._-]+", "-", model.rpartition("/")[2]).strip("-")[:60] or "worker"
    return next(name for name in (short, *(f"{short}-{n}" for n in range(2, len(taken) + 3))) if name not in taken)
