"""`fugu shadow`: a challenger that decides beside the champion on live traffic, and what it would have done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import mean
from typing import Annotated, Any

import typer

from deployments.commands.options import Home

OFF = "off"
MOST = 5
"""Of the pairs of workers on which the two differ, those that are shown."""


def shadow(
    what: Annotated[
        str, typer.Argument(metavar="[ROUTER|off]", help="A checkpoint's id or how it begins; left out: the report.")
    ] = "",
    home: Home = None,
) -> None:
    """Let a router decide beside `fugu`'s champion on live traffic: it asks nobody. Without one: say what it would do.

    The endpoint follows within a second; its decisions are in the requests' rows for as long as these are kept.
    """
    from deployments.migrations import upgrade
    from models.ledger import registry
    from models.ledger.requests import shadowed
    from tasks.setup.settings import open_ledger, settings

    upgrade(settings().database)
    ledger = open_ledger()
    if what == OFF:
        registry.promote(ledger, registry.SHADOW, {"kind": "nobody"}, "off")
        typer.echo("no router decides in the shadow")
        return
    if what:
        found = registry.find_checkpoint(ledger, what)
        registry.promote(ledger, registry.SHADOW, {"kind": "router", "checkpoint": found.id}, "a challenger")
        typer.echo(f"{found.name} ({found.id[:12]}) decides in the shadow of fugu")
        return
    challenger = registry.champion(ledger, registry.SHADOW)
    if challenger is None or "checkpoint" not in challenger.target:
        typer.echo("no router decides in the shadow: `fugu shadow ROUTER` lets one")
        return
    checkpoint = registry.load_checkpoint(ledger, challenger.target["checkpoint"])
    typer.echo(f"{checkpoint.name} ({checkpoint.id[:12]}) decides in the shadow of fugu")
    for line in report(shadowed(ledger, checkpoint.id)):
        typer.echo(line)


def report(rows: Sequence[dict[str, Any]]) -> list[str]:
    """How often the challenger chose as the champion did, how sure it was, and where they differ."""
    if not rows:
        return ["it has decided nothing yet"]
    same = [row for row in rows if row["worker"] == row["champion"]]
    lines = [f"{len(rows):,} requests: the same worker for {len(same) / len(rows):.1%}"]
    other = [row for row in rows if row["worker"] != row["champion"]]
    for name, some in (("where they agree", same), ("where they differ", other)):
        sure = [row["margin"] for row in some if row["margin"] is not None]
        lines += [f"its margin {name}: {mean(sure):.3f} on average"] if sure else []
    pairs = Counter((row["champion"], row["worker"]) for row in other)
    lines += [f"  {now} -> {then}: {count:,}" for (now, then), count in pairs.most_common(MOST)]
    return lines
