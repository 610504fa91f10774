"""`fugu status`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from deployments.commands.options import Home, PoolName

if TYPE_CHECKING:
    from models.ledger.registry import Champion
    from models.ledger.store import Ledger
    from models.workers.pool import Pool


def status(pool: PoolName = None, home: Home = None) -> None:
    """Show running processes, champions, labels and spending."""
    from deployments.migrations import upgrade
    from models.ledger import registry
    from models.workers.pool import Pool
    from tasks.setup.checkpoint import MODELS
    from tasks.setup.settings import open_ledger, pool_path, settings

    here = settings()
    upgrade(here.database)
    ledger = open_ledger()
    typer.echo(f"home      {here.home}")
    for line in _running():
        typer.echo(line)
    for model in MODELS:
        typer.echo(f"{model:<10}{_serving(registry.champion(ledger, model))}")
    for line in _labels(ledger, Pool.load(pool_path())):
        typer.echo(line)
    for line in _open(ledger):
        typer.echo(line)
    for line in _feedback(ledger):
        typer.echo(line)
    typer.echo(f"spent     {_spent(ledger)}")


def _feedback(ledger: Ledger) -> list[str]:
    """What callers said of answers, which is no measured label."""
    from models.ledger.kept.feedback import feedback_of

    rows = feedback_of(ledger).to_dict("records")
    return [f"said of    {row['worker'] or 'several'}: {row['score']:.3f} by {row['n']} {row['kind']}s" for row in rows]


def _running() -> list[str]:
    from deployments.home import find_note, secret_file
    from models.errors import NotFound
    from tasks.setup.settings import settings

    home = settings().home
    try:
        note = find_note(home)
    except NotFound:
        return ["running   no"]
    endpoint = f"{note.endpoint}/v1" if note.endpoint else "starting"
    return [f"endpoint  {endpoint}", f"Prefect   {note.prefect}  (log in with the line in {secret_file(home)})"]


def _serving(champion: Champion | None) -> str:
    return "no champion yet" if champion is None else served_by(champion)


def served_by(champion: Champion) -> str:
    """The serving worker or router, since when, and why."""
    target = champion.target
    who = target.get("worker") or f"router {target['checkpoint'][:12]}"
    return f"{who} since {champion.since:%Y-%m-%d %H:%M} UTC: {champion.reason}"


def _labels(ledger: Ledger, pool: Pool) -> list[str]:
    """A line for each worker: questions labelled, mean score, age of the newest label."""
    from models.ledger.labels import labels

    frame = labels(ledger, pool=pool.name)
    lines = [f"labels    {len(frame)} of pool {pool.name}"]
    for name in pool.names:
        mine = frame[frame["worker"] == name]
        if mine.empty:
            lines.append(f"  {name}: none")
            continue
        hours = mine["age_s"].max() / 3600
        lines.append(f"  {name}: {len(mine)} questions, mean score {mine['score'].mean():.3f}, up to {hours:.1f} h old")
    return lines


def _open(ledger: Ledger) -> list[str]:
    """A line for each worker that is not asked now, since it kept failing."""
    from models.ledger.providers.breakers import open_breakers

    rows = open_breakers(ledger)
    until = [f"until {row.until:%F %T} UTC" if row.until else "until somebody acts (fugu pool check)" for row in rows]
    return [
        f"not asked {row.worker}{f' with {row.key}' if row.key else ''} {when}: {row.reason}"
        for row, when in zip(rows, until, strict=True)
    ]


def _spent(ledger: Ledger) -> str:
    from models.ledger.accounts import spend

    total = spend(ledger)
    doubt = f", {total['maybe_paid']} that died in flight: at most ${total['maybe_usd']:,.2f} more"
    return f"${total['usd']:,.2f} for {total['calls']} calls{doubt if total['maybe_paid'] else ''}"
