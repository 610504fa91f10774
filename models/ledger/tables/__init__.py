"""The ledger's tables.

A call is one identity. Each transport try of it has its own row, and the call's row holds what the next try needs
(attempt number, owner, lease, earliest time). An attempt is one graded reply.

A call and its try are "claimed" until just before the first byte of the request, then "sent", and at the end "settled",
"failed" or "maybe_paid".
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
    text,
)

from models.ledger.tables import access as access  # its tables are part of the metadata
from models.ledger.tables import feedback as feedback  # its table is part of the metadata
from models.ledger.tables import responses as responses  # its table is part of the metadata
from models.ledger.tables.columns import Count, Usd, Utc, Words
from models.ledger.tables.columns import metadata as metadata

_OPEN = "status IN ('claimed', 'sent')"

calls = Table(
    "calls",
    metadata,
    Column("id", String(64), primary_key=True),  # the identity
    Column("scope", String(200), nullable=False, index=True),
    Column("worker", String(200), nullable=False),
    Column("revision", String(200), nullable=False),
    Column("payload", JSON, nullable=False),
    Column("status", String(10), nullable=False),  # claimed, sent, settled, failed, maybe_paid
    Column("attempt", Integer, nullable=False),
    Column("owner", String(64), nullable=False),
    Column("lease_until", Utc, nullable=False),
    Column("not_before", Utc),
    Column("reply", JSON),
    Column("error", Words),
    Column("created_at", Utc, nullable=False),
    Column("updated_at", Utc, nullable=False),
    Column("pruned_at", Utc),  # when its texts were deleted: payload {}, no reply, no error
    Index("ix_calls_created_at", "created_at", "scope"),
    Index("ix_calls_open", "worker", sqlite_where=text(_OPEN), postgresql_where=text(_OPEN)),
)

tries = Table(
    "tries",
    metadata,
    Column("call_id", String(64), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("status", String(10), nullable=False),
    Column("budget", String(200)),
    Column("worst_usd", Usd, nullable=False),
    Column("cost_usd", Usd),  # by the upstream's token counts; NULL where not known
    Column("seconds", Float),
    Column("transient", Boolean),
    Column("error", Words),
    Column("started_at", Utc, nullable=False),
    Column("ended_at", Utc),
)

budgets = Table(
    "budgets",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("max_usd", Usd, nullable=False),
    Column("reserved_usd", Usd, nullable=False),
    Column("spent_usd", Usd, nullable=False),
)

questions = Table(
    "questions",
    metadata,
    Column("source", String(64), primary_key=True),  # the file, or the house: ids are unique within one source
    Column("id", String(200), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("task", String(200), nullable=False),
    Column("split", String(20), nullable=False),
    Column("tags", JSON, nullable=False),
    Column("body", JSON, nullable=False),
)

workers = Table(
    "workers",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("revision", String(200), nullable=False),
    Column("recorded", Boolean, nullable=False),
)

epochs = Table(
    "epochs",
    metadata,
    Column("id", Integer, primary_key=True),  # unique over all pools, so that `measure:<id>` is one scope
    Column("pool", String(200), nullable=False),
    Column("question_set", String(64), nullable=False),
    Column("opened_at", Utc, nullable=False),
    Index("ix_epochs_series", "pool", "question_set"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("question_id", String(200), nullable=False),
    Column("question_digest", String(64), nullable=False),
    Column("worker", String(200), nullable=False),
    Column("revision", String(200), nullable=False),
    Column("repeat", Integer, nullable=False),
    Column("grader", String(40), nullable=False),
    Column("grader_version", String(40), nullable=False),
    Column("call_id", String(64)),  # NULL for recorded scores
    Column("score", Float, nullable=False),
    Column("cost_usd", Float, nullable=False),
    Column("prompt_tokens", Count, nullable=False),
    Column("completion_tokens", Count, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("text_digest", String(64), nullable=False),
    Column("created_at", Utc, nullable=False),
    UniqueConstraint(
        "epoch",
        "question_id",
        "worker",
        "revision",
        "repeat",
        "grader",
        "grader_version",
        name="uq_attempts_cell",
    ),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("vector", LargeBinary, nullable=False),  # float32, little-endian
    Column("meta", JSON, nullable=False),
    Column("created_at", Utc, nullable=False),
)

promotions = Table(
    "promotions",
    metadata,
    Column("model", String(200), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("origin", Integer, nullable=False),  # the version that first had this target, after a rollback an older one
    Column("target", JSON, nullable=False),
    Column("reason", Words, nullable=False),
    Column("since", Utc, nullable=False),
)

generations = Table(
    "generations",
    metadata,
    Column("run", String(200), primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("body", JSON, nullable=False),
    Column("created_at", Utc, nullable=False),
)

requests = Table(
    "requests",
    metadata,
    Column("id", String(200), primary_key=True),
    Column("body", JSON, nullable=False),
    Column("created_at", Utc, nullable=False, index=True),
    Column("pruned_at", Utc),  # when its texts were deleted
)

workflows = Table(
    "workflows",
    metadata,
    Column("id", String(200), primary_key=True),  # "{request}/{round}": also the scope of its calls
    Column("request", String(200), nullable=False, index=True),  # the first request; later ones may continue it
    Column("conversation", String(200), nullable=False, index=True),
    Column("body", JSON, nullable=False),
    Column("created_at", Utc, nullable=False),
)

steps = Table(
    "steps",
    metadata,
    Column("workflow", String(200), primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("state", String(20), nullable=False),
    Column("worker", String(200), nullable=False),
    Column("body", JSON, nullable=False),  # tried workers, turns: calls and the tool calls they led to
    Column("updated_at", Utc, nullable=False),
)

tool_calls = Table(
    "tool_calls",
    metadata,
    Column("id", String(60), primary_key=True),  # ours: in a client's message it alone identifies workflow and step
    Column("workflow", String(200), nullable=False, index=True),
    Column("step", Integer, nullable=False),
    Column("conversation", String(200), nullable=False, index=True),
    Column("request", String(200)),  # the one that handed it out; NULL before
    Column("original", Words, nullable=False),  # the worker's own id; some providers encode state in it
    Column("name", Words, nullable=False),
    Column("arguments", Words, nullable=False),
    Column("result", Words),
    Column("created_at", Utc, nullable=False),
    Column("expires_at", Utc, nullable=False),
)

breakers = Table(
    "breakers",
    metadata,
    Column("worker", String(200), primary_key=True),
    Column("key", String(200), primary_key=True),  # the variable that holds the worker's key, or ""
    Column("reason", Words, nullable=False),
    Column("opens", Integer, nullable=False),  # how often in a row
    Column("since", Utc, nullable=False),
    Column("until", Utc),  # NULL: until somebody acts
    Column("probe_until", Utc),
)

paces = Table(
    "paces",
    metadata,
    Column("worker", String(200), primary_key=True),
    Column("next_request", Utc, nullable=False),  # when the provider's requests per minute allow the next call
    Column("next_tokens", Utc, nullable=False),  # when its tokens per minute do
)

conversation_workers = Table(
    "conversation_workers",
    metadata,
    Column("key", String(64), primary_key=True),  # sha256 of what identifies the conversation
    Column("worker", String(200), nullable=False),  # who answered it last
    Column("at", Utc, nullable=False, index=True),
)

identity = Table(
    "identity",
    metadata,
    Column("id", Integer, primary_key=True),  # a single row
    Column("ledger", String(32), nullable=False),  # random: a copy of the ledger has it, another ledger does not
)

probes = Table(
    "probes",
    metadata,
    Column("id", Integer, primary_key=True),  # a single row, written to test whether writing works
    Column("at", Utc, nullable=False),
)
