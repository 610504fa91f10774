"""`fugu init`: from keys in the environment to a pool file, and to the questions to begin with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.commands.options import Home

if TYPE_CHECKING:
    from deployments.begin.poolfile import Entry, Provider
    from models.workers.pool import Price

SHOWN = 8
"""Models of a server that become workers unless they are named."""


QUESTIONS = "questions.jsonl"
"""The copy of the starter questions, beside the pool file."""


def init(
    file: Annotated[Path, typer.Option(help="The pool file to write.")] = Path("my-pool.yaml"),
    provider: Annotated[list[str] | None, typer.Option(help="A provider whose key is set; may be repeated.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="A model as litellm names it; may be repeated.")] = None,
    api_base: Annotated[
        str | None, typer.Option(help="An OpenAI-compatible server (…/v1); without --model it is asked for its models.")
    ] = None,
    key_env: Annotated[str | None, typer.Option(help="The variable that holds the key of --model.")] = None,
    price: Annotated[
        tuple[float, float] | None,
        typer.Option(help="USD per million tokens of --model, in and out.", metavar="IN OUT"),
    ] = None,
    starter: Annotated[
        bool | None, typer.Option("--starter/--no-starter", help="Copy the starter questions beside the pool file.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no worker.")] = False,
    home: Home = None,
) -> None:
    """Write a pool file, check its workers, and offer questions to begin with. Asks only at a terminal.

    Exit status 1 if a worker cannot be used.
    """
    from deployments.begin import poolfile
    from models.errors import BadInput
    from models.workers.pool import Price
    from tasks.setup.settings import settings

    here = settings()
    _free(file, force)
    if starter:
        _free(file.with_name(QUESTIONS), force)
    among = poolfile.providers(here.data / "providers.yaml")
    paid = None if price is None else Price(input_per_million=price[0], output_per_million=price[1])
    entries = [entry for name in provider or () for entry in poolfile.of_provider(name, among)]
    names = list(model or ())
    if api_base is not None and not names:
        names = poolfile.served_by(api_base, key_env)[:SHOWN]
    entries += [poolfile.of_model(name, key_env, api_base, paid, among.values()) for name in names]
    if not entries:
        entries = _asked(among) if sys.stdin.isatty() else _with_keys(among)
    if not entries:
        looked = ", ".join(each.key_env for each in among.values())
        raise BadInput(f"no provider was chosen: set a key ({looked}), or name a --model or a server with --api-base")
    pool = poolfile.write(file, entries)
    typer.echo(f"wrote {file}: {', '.join(pool.names)}")
    usable = _check(file, offline)
    _offer(file, starter)
    if not usable:
        raise typer.Exit(1)


def _free(file: Path, force: bool) -> None:
    """Raises BadInput for a file that is there."""
    from models.errors import BadInput

    if file.exists() and not force:
        raise BadInput(f"{file} is there already: --force overwrites it, --file names another one", "file")


def _with_keys(among: dict[str, Provider]) -> list[Entry]:
    from deployments.begin import poolfile

    return [e for name, each in among.items() if each.has_key for e in poolfile.of_provider(name, among)]


def _asked(among: dict[str, Provider]) -> list[Entry]:
    """What the person at the terminal chooses."""
    from deployments.begin import poolfile

    chosen: list[Entry] = []
    for name, each in among.items():
        question = f"{each.key_env} is set. Use {name} ({', '.join(each.models)})?"
        if each.has_key and typer.confirm(question, default=True):
            chosen += poolfile.of_provider(name, among)
    return chosen + _of_a_server()


def _of_a_server() -> list[Entry]:
    """The models of a server that the person names; asked again while it does not list them."""
    from deployments.begin import poolfile
    from models.errors import BadInput

    while address := _said("Address of an OpenAI-compatible server (http://.../v1), empty: none"):
        key_env = _said("Environment variable that holds its key, empty: none") or None
        try:
            names = poolfile.served_by(address, key_env)[:SHOWN]
        except BadInput as error:
            typer.echo(f"{error}")
            continue
        entries = [poolfile.of_model(served, key_env, address, None, ()) for served in names]
        if any(poolfile.price_of(entry) is None for entry in entries):
            price = _price()
            entries = [poolfile.of_model(served, key_env, address, price, ()) for served in names]
        return entries
    return []


def _said(question: str) -> str:
    return str(typer.prompt(question, default="", show_default=False)).strip()


def _price() -> Price:
    from models.workers.pool import Price

    asked = [typer.prompt(f"USD per million tokens, {way}", value_proc=_usd) for way in ("in", "out")]
    return Price(input_per_million=asked[0], output_per_million=asked[1])


def _usd(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1e8:
        raise typer.BadParameter("a number of at least 0 is needed")
    return found


def _check(file: Path, offline: bool) -> bool:
    """`fugu pool check` of the new file; whether all workers can be used."""
    from deployments.begin.checking import check
    from deployments.migrations import upgrade
    from tasks.setup.settings import open_ledger, open_pool, settings

    upgrade(settings().database)
    ledger = open_ledger()
    try:
        return check(open_pool(file.resolve()), ledger, typer.echo, ping=not offline)
    finally:
        ledger.close()


def _offer(file: Path, wanted: bool | None) -> None:
    """Say what the starter set is and would cost, copy it if that is wanted, and say what to do next."""
    from deployments.begin.starter import copy, starter
    from deployments.estimate import estimate_cost
    from tasks.setup.review import review
    from tasks.setup.settings import load_pool, open_ledger, settings

    source, about = starter(settings())
    here = settings().model_copy(update={"questions": str(source)})
    ledger = open_ledger()
    estimate = estimate_cost(here, load_pool(file.resolve()), ledger)
    ledger.close()
    typer.echo(f"\nstarter questions: {about}")
    for line in review(source).text(str(source), estimate.line):
        typer.echo(line)
    target = file.with_name(QUESTIONS)
    if wanted is None and sys.stdin.isatty() and not target.exists():
        wanted = typer.confirm(f"Copy them to {target}?", default=True)
    up = f"fugu up --pool {file}"
    typer.echo(f"\nserve at once, nothing measured:   {up}")
    if wanted:
        copy(source, target)
        typer.echo(f"wrote {target}")
    else:
        target = source
    typer.echo(f"measure, learn a router, serve it: {up} --questions {target} --max-usd 5")
