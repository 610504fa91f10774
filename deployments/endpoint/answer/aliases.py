"""Other names of the served models, for clients that know only their own: FUGU_ALIASES, such as `claude-*=fugu`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from deployments.endpoint.answer.question import Question
from models.errors import BadInput

SETTING = "FUGU_ALIASES"
WILD = frozenset("*?[")

Aliases = Sequence[tuple[str, str]]
"""Names, in which `*` stands for anything, and the model, or its pinned version, that each means; the first counts."""


def read_aliases(text: str) -> Aliases:
    """`NAME=MODEL`, separated by commas. Raises BadInput."""
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, model = (each.strip() for each in part.partition("="))
        if not (name and equals and model):
            raise BadInput(f"{SETTING}: {part!r} is not NAME=MODEL", SETTING)
        found.append((name, model))
    return found


def check_aliases(aliases: Aliases, served: Collection[str]) -> None:
    """Raises BadInput for an alias of a model that is not served, and for the name of one that is."""
    for name, model in aliases:
        if model.partition("@")[0] not in served:
            raise BadInput(f"{SETTING}: {name}={model}: there is no model {model!r} but {', '.join(served)}", SETTING)
        if name in served:
            raise BadInput(f"{SETTING}: {name}={model}: {name} is a model itself", SETTING)


def meant_by(asked: str, aliases: Aliases, served: Collection[str]) -> str:
    """The model, or its pinned version, that is asked for by this name; the name itself, where it is no alias."""
    if asked.partition("@")[0] in served:
        return asked
    return next((model for name, model in aliases if fnmatchcase(asked, name)), asked)


def by_its_own_name(question: Question, aliases: Aliases, served: Collection[str]) -> Question:
    """The question to the model that an alias means; its trace says so."""
    asked, model = question.model, meant_by(question.model, aliases, served)
    if model == asked:
        return question
    note = f"the model {asked[:100]} is an alias of {model}"
    return replace(question, model=model, notes=(note, *question.notes))


def listed(aliases: Aliases) -> list[tuple[str, str]]:
    """The aliases that are names as they stand."""
    return [(name, model) for name, model in aliases if not WILD.intersection(name)]
