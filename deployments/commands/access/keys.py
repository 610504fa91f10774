"""`fugu keys create`, `list` and `revoke`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.commands.options import Home, PoolName

if TYPE_CHECKING:
    from models.ledger.access.keys import ApiKey
    from models.ledger.access.policy import Policy
    from models.ledger.store import Ledger

app = typer.Typer(help="API keys of the endpoint, their budgets and rates.", no_args_is_help=True)


@app.callback()
def _keys() -> None:
    """API keys of the endpoint, their budgets and rates."""


def _named(help: str) -> Any:
    return typer.Option(metavar="NAME,…", help=help)


def _usd(help: str) -> Any:
    return typer.Option(min=0, metavar="USD", help=help)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whom or what the key is for.")],
    scopes: Annotated[str, typer.Option(help="chat, trace (see who answers), admin; separated by commas.")] = "chat",
    days: Annotated[float | None, typer.Option(min=0, help="Days until it expires.", show_default="never")] = None,
    workers: Annotated[str | None, _named("Only these workers.")] = None,
    deny_workers: Annotated[str | None, _named("Not these workers.")] = None,
    vendors: Annotated[str | None, _named("Only workers of these vendors.")] = None,
    deny_vendors: Annotated[str | None, _named("No workers of these vendors.")] = None,
    regions: Annotated[str | None, _named("Only workers in these regions.")] = None,
    deny_regions: Annotated[str | None, _named("No workers in these regions.")] = None,
    local_only: Annotated[bool, typer.Option("--local-only", help="Only workers whose models run here.")] = False,
    day_usd: Annotated[float | None, _usd("Budget of each day (UTC).")] = None,
    month_usd: Annotated[float | None, _usd("Budget of each month (UTC).")] = None,
    total_usd: Annotated[float | None, _usd("Budget of the key.")] = None,
    max_usd: Annotated[float | None, _usd("Limit of each request.")] = None,
    max_calls: Annotated[int | None, typer.Option(min=1, help="Limit of each request: calls to workers.")] = None,
    max_seconds: Annotated[float | None, typer.Option(min=0, help="Limit of each request: seconds.")] = None,
    cheapest: Annotated[
        bool, typer.Option("--cheapest", help="Over a limit of money, ask the cheapest allowed worker, if that fits.")
    ] = False,
    requests_per_minute: Annotated[int | None, typer.Option(min=1, help="Requests in each minute.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(min=1, help="Tokens in each minute.")] = None,
    in_flight: Annotated[int | None, typer.Option(min=1, help="Requests at once.")] = None,
    pool: PoolName = None,
    home: Home = None,
) -> None:
    """Make a key and print it, once: only its hash is kept. With the first key, every request needs one."""
    from models.ledger.access.keys import make_key

    policy = _policy(
        scopes=_listed(scopes),
        workers=_listed(workers),
        denied_workers=_listed(deny_workers),
        vendors=_listed(vendors),
        denied_vendors=_listed(deny_vendors),
        regions=_listed(regions),
        denied_regions=_listed(deny_regions),
        local_only=local_only,
        day_usd=day_usd,
        month_usd=month_usd,
        total_usd=total_usd,
        max_usd=max_usd,
        max_calls=max_calls,
        max_seconds=max_seconds,
        on_exceeded="cheapest" if cheapest else "refuse",
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        in_flight=in_flight,
    )
    _check_workers(policy)
    ledger = _open()
    made, key = make_key(ledger, name, policy, None if days is None else timedelta(days=days))
    ledger.close()
    typer.echo(key)
    typer.echo(f"{_line(made)}\nThis key is not shown again. Clients send it as their API key.", err=True)


@app.command("list")
def list_(home: Home = None) -> None:
    """List all keys: when they end, when they were last used, what they may do and what they have spent."""
    from models.ledger.access.keys import list_keys
    from models.ledger.access.purses import spent_by

    ledger = _open()
    keys = list_keys(ledger)
    for key in keys:
        typer.echo(_line(key))
        for words in [*_policy_words(key.policy), *spent_by(ledger, key.id)]:
            typer.echo(f"    {words}")
    ledger.close()
    if not keys:
        typer.echo("no key: the endpoint answers every program of this machine, and listens on loopback alone")


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="Its name, or what it begins with (see `fugu keys list`).")],
    home: Home = None,
) -> None:
    """End a key for ever. Running endpoints refuse it within two seconds."""
    from models.ledger.access.keys import revoke_key

    ledger = _open()
    typer.echo(_line(revoke_key(ledger, key)))
    ledger.close()


def _open() -> Ledger:
    from deployments.migrations import upgrade
    from tasks.setup.settings import open_ledger, settings

    upgrade(settings().database)
    return open_ledger()


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def _policy(**fields: Any) -> Policy:
    """Raises BadInput, naming the option."""
    from pydantic import ValidationError

    from models.errors import BadInput
    from models.ledger.access.policy import Policy

    try:
        return Policy.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + str(first["loc"][0]).replace("_", "-").replace("denied", "deny")
        raise BadInput(f"{option}: {first['msg']}", option) from None


def _check_workers(policy: Policy) -> None:
    """Raises BadInput for a worker, vendor or region that the pool lacks: it would allow or deny nothing."""
    from models.errors import BadInput
    from tasks.setup.settings import load_pool

    pool = load_pool()
    kinds = (
        ("worker", policy.workers + policy.denied_workers, set(pool.names)),
        ("vendor", policy.vendors + policy.denied_vendors, {worker.vendor for worker in pool.workers}),
        ("region", policy.regions + policy.denied_regions, {worker.region for worker in pool.workers}),
    )
    for kind, wanted, known in kinds:
        for name in wanted:
            if name not in known:
                raise BadInput(f"pool {pool.name!r} has no {kind} {name!r}", kind)


def _line(key: ApiKey) -> str:
    now = datetime.now(UTC)
    if key.revoked_at is not None:
        state = f"revoked {key.revoked_at:%Y-%m-%d %H:%M} UTC"
    elif not key.is_live(now):
        state = f"expired {key.expires_at:%Y-%m-%d %H:%M} UTC"
    else:
        state = f"until {key.expires_at:%Y-%m-%d %H:%M} UTC" if key.expires_at else "live"
    used = f"last used {key.used_at:%Y-%m-%d %H:%M} UTC" if key.used_at else "not used yet"
    return f"{key.prefix}…  {key.name}  {state}, {used}"


def _policy_words(policy: Policy) -> list[str]:
    """The fields of a policy that are not the default, one a line."""
    fields = policy.model_dump(mode="json", exclude_defaults=True)
    shown = {"scopes": list(policy.scopes), **fields}
    return [f"{name}: {', '.join(value) if isinstance(value, list) else value}" for name, value in shown.items()]
