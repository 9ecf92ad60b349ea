"""The tables of the state, with its invariants as constraints.

Only portable types: text (JSON is canonical text), integers, floats. The migrations lead to exactly these
tables at revision `queries.SCHEMA_HEAD`, which a test compares. Imported by writers only, never by the plan's reader.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from engine.core.records import Aftermath, AttemptStatus, EventKind, RunStatus
from engine.core.rollout import Phase
from engine.core.verdict import Verdict

NAMING = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "ix": "ix_%(table_name)s_%(column_0_name)s",
}
metadata = MetaData(naming_convention=NAMING)

# SQLite counts rows up by itself only for INTEGER; PostgreSQL wants eight bytes.
_Id = BigInteger().with_variant(Integer, "sqlite")


def _one_of(
    column: str,
    values: type[AttemptStatus] | type[RunStatus] | type[Verdict] | type[Phase] | type[EventKind] | type[Aftermath],
) -> CheckConstraint:
    # Not with IN: SQLite builds an index of its list for each row that is checked.
    return CheckConstraint(" OR ".join(f"{column} = '{value.value}'" for value in values), name=column)


def _unique_where(name: str, condition: str, *columns: str) -> Index:
    where = text(condition)
    return Index(name, *columns, unique=True, sqlite_where=where, postgresql_where=where)


meta = Table(
    "meta",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("lineage", Text, nullable=False),
    Column("serial", BigInteger, nullable=False),
    Column("audit_count", BigInteger, nullable=False),
    Column("audit_head", Text, nullable=False),
    CheckConstraint("id = 1", name="single"),
    CheckConstraint("serial >= 0 AND audit_count >= 0", name="counters"),
)

# The last write of each writer. After a COMMIT that returned an error it tells whether that write is there.
writers = Table(
    "writers",
    metadata,
    Column("writer", Text, primary_key=True),
    Column("write_key", Text, nullable=False),
    Column("at", Text, nullable=False),
)

models = Table(
    "models",
    metadata,
    Column("name", Text, primary_key=True),
    Column("serial", BigInteger, nullable=False),
    Column("spec_digest", Text, nullable=False),
    CheckConstraint("serial >= 0", name="serial"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("run_id", Text, nullable=False, unique=True),
    Column("model", Text, ForeignKey("models.name"), nullable=False),
    Column("status", Text, nullable=False),
    Column("started_at", Text, nullable=False),
    Column("finished_at", Text),
    Column("spec_digest", Text, nullable=False),
    Column("document", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("provenance", Text, nullable=False),
    _one_of("status", RunStatus),
    CheckConstraint("(status = 'running') = (finished_at IS NULL)", name="finished"),
    Index("ix_runs_model", "model", "id"),
    _unique_where("uq_runs_running", "status = 'running'", "model"),
)

# `head` marks the newest result of a step, and the newest attempt when it is newer than that result. The rows that
# planning reads are therefore as many as there are steps, however long the history is.
steps = Table(
    "steps",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("run_id", Text, ForeignKey("runs.run_id"), nullable=False),
    Column("model", Text, ForeignKey("models.name"), nullable=False),
    Column("step", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("head", Text),
    Column("components", Text),
    Column("outputs", Text),
    Column("facts", Text),
    Column("summary", Text, nullable=False),
    Column("verdict", Text),
    Column("seconds", Float, nullable=False),
    Column("recent", Text),  # seconds of the newest results of this step, this one first
    Column("started_at", Text, nullable=False),
    Column("finished_at", Text),
    Column("message", Text, nullable=False),
    _one_of("status", AttemptStatus),
    _one_of("verdict", Verdict),
    CheckConstraint("head IN ('result', 'attempt')", name="head"),
    CheckConstraint("head IS NULL OR (head = 'result') = (status = 'done')", name="head_status"),
    CheckConstraint("(status = 'intent') = (finished_at IS NULL)", name="finished"),
    CheckConstraint("status <> 'intent' OR head IS NOT NULL", name="intent"),  # so a step has one open at most
    CheckConstraint(
        "status <> 'done' OR (components IS NOT NULL AND outputs IS NOT NULL"
        " AND facts IS NOT NULL AND recent IS NOT NULL)",
        name="complete",
    ),
    CheckConstraint("seconds >= 0", name="seconds"),
    Index("ix_steps_run", "run_id"),
    _unique_where("uq_steps_head", "head IS NOT NULL", "model", "step", "head"),
    _unique_where("uq_steps_done", "status = 'done'", "model", "step", "fingerprint", "run_id"),
)

taints = Table(
    "taints",
    metadata,
    Column("model", Text, ForeignKey("models.name"), primary_key=True),
    Column("step", Text, primary_key=True),
    Column("at", Text, nullable=False),
)

releases = Table(
    "releases",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("model", Text, ForeignKey("models.name"), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("release_key", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("registry_uri", Text, nullable=False),
    Column("artifact", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    UniqueConstraint("model", "version", name="uq_releases_version"),
    UniqueConstraint("model", "release_key", name="uq_releases_key"),
    CheckConstraint("version >= 1", name="version"),
)

# `champion` and `challenger` are what the registry's aliases were made to say since the releases last changed: no part
# of the endpoint itself.
endpoints = Table(
    "endpoints",
    metadata,
    Column("model", Text, ForeignKey("models.name"), primary_key=True),
    Column("generation", BigInteger, nullable=False),
    Column("stable", BigInteger),
    Column("candidate", BigInteger),
    Column("weight", Float, nullable=False),
    Column("deployed", Text, nullable=False),
    Column("aborted", Text, nullable=False),
    Column("previous", BigInteger),
    Column("mirror", Float, nullable=False),
    Column("champion", BigInteger),
    Column("challenger", BigInteger),
    ForeignKeyConstraint(["model", "stable"], ["releases.model", "releases.version"], name="fk_endpoints_stable"),
    ForeignKeyConstraint(["model", "candidate"], ["releases.model", "releases.version"], name="fk_endpoints_candidate"),
    ForeignKeyConstraint(["model", "previous"], ["releases.model", "releases.version"], name="fk_endpoints_previous"),
    CheckConstraint("generation >= 1", name="generation"),
    CheckConstraint("weight >= 0 AND weight < 1", name="weight"),
    CheckConstraint("mirror >= 0 AND mirror <= 1", name="mirror"),
    CheckConstraint("candidate IS NOT NULL OR (weight = 0 AND mirror = 0)", name="candidate_weight"),
    CheckConstraint("candidate IS NULL OR (stable IS NOT NULL AND candidate <> stable)", name="candidate_stable"),
)

rollouts = Table(
    "rollouts",
    metadata,
    Column("model", Text, ForeignKey("models.name"), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("candidate", BigInteger, nullable=False),
    Column("base", BigInteger, nullable=False),
    Column("strategy", Text, nullable=False),
    Column("phase", Text, nullable=False),
    Column("stage", BigInteger, nullable=False),
    Column("first_generation", BigInteger, nullable=False),
    Column("stage_generation", BigInteger, nullable=False),
    Column("started_at", Text, nullable=False),
    Column("changed_at", Text, nullable=False),
    Column("began_at", Text),
    Column("passed", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    ForeignKeyConstraint(["model", "candidate"], ["releases.model", "releases.version"], name="fk_rollouts_candidate"),
    ForeignKeyConstraint(["model", "base"], ["releases.model", "releases.version"], name="fk_rollouts_base"),
    _one_of("phase", Phase),
    CheckConstraint("number >= 1 AND stage >= 0", name="counters"),
    CheckConstraint("candidate <> base", name="candidate_base"),
    CheckConstraint("first_generation >= 1 AND stage_generation >= first_generation", name="generations"),
    CheckConstraint("passed = 0 OR passed = 1", name="passed"),
    _unique_where(
        "uq_rollouts_open",
        "phase = 'progressing' OR phase = 'paused' OR phase = 'awaiting_approval'",
        "model",
    ),
)

# Models that are not destroyed, as their specs said when they were last applied: a spec that is gone says nothing more.
protected = Table(
    "protected",
    metadata,
    Column("model", Text, ForeignKey("models.name"), primary_key=True),
    Column("at", Text, nullable=False),
)

approvals = Table(
    "approvals",
    metadata,
    Column("sequence", _Id, primary_key=True),
    Column("model", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("artifact", Text, nullable=False),
    Column("agrees", Integer, nullable=False),
    Column("actor", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", Text, nullable=False),
    ForeignKeyConstraint(["model", "version"], ["releases.model", "releases.version"], name="fk_approvals_release"),
    CheckConstraint("agrees = 0 OR agrees = 1", name="agrees"),
    Index("ix_approvals_release", "model", "version"),
)

# No foreign key to `models`: an event may come before the first run.
inbox = Table(
    "inbox",
    metadata,
    Column("sequence", _Id, primary_key=True),
    Column("id", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("received_at", Text, nullable=False),
    Column("handled_at", Text),
    Column("handled_by", Text),
    UniqueConstraint("model", "id", name="uq_inbox_id"),
    _one_of("kind", EventKind),
    CheckConstraint("id <> '' AND model <> ''", name="named"),
    CheckConstraint("(handled_at IS NULL) = (handled_by IS NULL)", name="handled"),
    Index(
        "ix_inbox_pending",
        "model",
        "sequence",
        sqlite_where=text("handled_at IS NULL"),
        postgresql_where=text("handled_at IS NULL"),
    ),
)

# No foreign key to `models`: triggers are looked at before the first run.
evaluations = Table(
    "evaluations",
    metadata,
    Column("sequence", _Id, primary_key=True),
    Column("model", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("signature", Text, nullable=False),
    Column("document", Text, nullable=False),
    Column("first_at", Text, nullable=False),
    Column("last_at", Text, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("aftermath", Text),
    Column("run_id", Text, nullable=False),
    Column("settled_at", Text),
    CheckConstraint("status = 'due' OR status = 'held' OR status = 'not_due' OR status = 'unknown'", name="status"),
    _one_of("aftermath", Aftermath),
    CheckConstraint(
        "(settled_at IS NULL) = (aftermath IS NULL) AND (status = 'due' OR aftermath IS NULL)", name="settled"
    ),
    CheckConstraint("count >= 1", name="counted"),
    Index("ix_evaluations_model", "model", "sequence"),
    Index(
        "ix_evaluations_due",
        "model",
        "sequence",
        sqlite_where=text("status = 'due'"),
        postgresql_where=text("status = 'due'"),
    ),
)

# No foreign key to `models`: a first run that fails is an alert, too.
alerts = Table(
    "alerts",
    metadata,
    Column("model", Text, primary_key=True),
    Column("fingerprint", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("summary", Text, nullable=False),
    Column("remedy", Text, nullable=False),
    Column("labels", Text, nullable=False),
    Column("episode", BigInteger, nullable=False),
    Column("fired_at", Text, nullable=False),
    Column("seen_at", Text, nullable=False),
    Column("resolved_at", Text),
    CheckConstraint("severity = 'warning' OR severity = 'critical'", name="severity"),
    CheckConstraint("episode >= 1", name="episode"),
    CheckConstraint("resolved_at IS NULL OR resolved_at >= fired_at", name="resolved"),
)

# What each receiver of alerts was told of each group.
told = Table(
    "told",
    metadata,
    Column("model", Text, primary_key=True),
    Column("receiver", Text, primary_key=True),
    Column("grouping", Text, primary_key=True),
    Column("since", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("sent_at", Text),
    Column("alerts", Text, nullable=False),
    Column("recent", Text, nullable=False),
    Column("failures", BigInteger, nullable=False),
    Column("next_at", Text),
    Column("error", Text, nullable=False),
    CheckConstraint("sequence >= 0 AND failures >= 0", name="counted"),
)

# No foreign key to `models`: a token only grows, even when the model is removed and comes back. No holder: free.
leases = Table(
    "leases",
    metadata,
    Column("model", Text, primary_key=True),
    Column("holder", Text),
    Column("token", BigInteger, nullable=False),
    Column("acquired_at", Text, nullable=False),
    Column("expires_at", Text, nullable=False),
    CheckConstraint("token >= 1", name="token"),
)

audit = Table(
    "audit",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("details", Text, nullable=False),
    Column("previous_hash", Text, nullable=False, unique=True),
    Column("hash", Text, nullable=False, unique=True),
    CheckConstraint("sequence >= 1", name="sequence"),
)

plans = Table(
    "plans",
    metadata,
    Column("plan_id", Text, primary_key=True),
    Column("redeemed_at", Text, nullable=False),
)
