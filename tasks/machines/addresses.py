"""The addresses in settings, checked by their form alone: of a cluster, and of the Prefect server's databases."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

LOOPBACK = ("127.0.0.1", "::1", "localhost")

POSTGRESQL = "postgresql+asyncpg"
"""The one scheme for PostgreSQL that Prefect's server takes."""

REDIS = ("redis", "rediss")


def cluster_host(runner: str, address: str) -> str:
    """The host of a cluster's address. Raises ValueError for an address that the runner does not have."""
    if runner == "threads":
        raise ValueError("threads have no address: set FUGU_TASK_RUNNER to dask or ray")
    scheme, found, rest = address.rpartition("://")
    known = {"dask": ("tcp", "tls"), "ray": ("ray", "")}[runner]
    parts = urlsplit(f"//{rest}")
    try:
        usable = parts.hostname and parts.port and not parts.path and scheme in known and bool(found) == bool(scheme)
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(
            f"{address!r} is no address of {runner}, as {'tls' if runner == 'dask' else 'ray'}://HOST:PORT is"
        )
    return str(parts.hostname)


def checked_postgresql(url: str) -> str:
    """The URL. Raises ValueError, which does not quote it since it holds a password, for one of another form."""
    parts = _split(url)
    if parts is None or parts.scheme != POSTGRESQL or not parts.path.strip("/"):
        raise ValueError(f"has to be of the form {POSTGRESQL}://USER:PASSWORD@HOST/DATABASE")
    return url


def checked_redis(url: str) -> str:
    """The URL. Raises ValueError, which does not quote it, for one of another form."""
    parts = _split(url)
    number = "" if parts is None else parts.path.strip("/")
    if parts is None or parts.scheme not in REDIS or not parts.hostname or not (number or "0").isdecimal():
        raise ValueError("has to be of the form redis://:PASSWORD@HOST:PORT/NUMBER, or rediss:// with TLS")
    return url


def _split(url: str) -> SplitResult | None:
    """The URL's parts; `None` where it has no host and port that can be."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts
