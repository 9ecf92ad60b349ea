"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("previous_hash", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.CheckConstraint("sequence >= 1", name=op.f("ck_audit_sequence")),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_audit")),
        sa.UniqueConstraint("hash", name=op.f("uq_audit_hash")),
        sa.UniqueConstraint("previous_hash", name=op.f("uq_audit_previous_hash")),
    )
    op.create_table(
        "leases",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=True),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("acquired_at", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.Text(), nullable=False),
        sa.CheckConstraint("token >= 1", name=op.f("ck_leases_token")),
        sa.PrimaryKeyConstraint("model", name=op.f("pk_leases")),
    )
    op.create_table(
        "meta",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("lineage", sa.Text(), nullable=False),
        sa.Column("serial", sa.BigInteger(), nullable=False),
        sa.Column("audit_count", sa.BigInteger(), nullable=False),
        sa.Column("audit_head", sa.Text(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_meta_single")),
        sa.CheckConstraint("serial >= 0 AND audit_count >= 0", name=op.f("ck_meta_counters")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_meta")),
    )
    op.create_table(
        "models",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("serial", sa.BigInteger(), nullable=False),
        sa.Column("spec_digest", sa.Text(), nullable=False),
        sa.CheckConstraint("serial >= 0", name=op.f("ck_models_serial")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_models")),
    )
    op.create_table(
        "plans",
        sa.Column("plan_id", sa.Text(), nullable=False),
        sa.Column("redeemed_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("plan_id", name=op.f("pk_plans")),
    )
    op.create_table(
        "writers",
        sa.Column("writer", sa.Text(), nullable=False),
        sa.Column("write_key", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("writer", name=op.f("pk_writers")),
    )
    op.create_table(
        "releases",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("release_key", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("registry_uri", sa.Text(), nullable=False),
        sa.Column("artifact", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.CheckConstraint("version >= 1", name=op.f("ck_releases_version")),
        sa.ForeignKeyConstraint(["model"], ["models.name"], name=op.f("fk_releases_model")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_releases")),
        sa.UniqueConstraint("model", "release_key", name="uq_releases_key"),
        sa.UniqueConstraint("model", "version", name="uq_releases_version"),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Text(), nullable=False),
        sa.Column("finished_at", sa.Text(), nullable=True),
        sa.Column("spec_digest", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("provenance", sa.Text(), nullable=False),
        sa.CheckConstraint("(status = 'running') = (finished_at IS NULL)", name=op.f("ck_runs_finished")),
        sa.CheckConstraint(
            "status = 'running' OR status = 'done' OR status = 'stopped'"
            " OR status = 'failed' OR status = 'cancelled' OR status = 'interrupted'",
            name=op.f("ck_runs_status"),
        ),
        sa.ForeignKeyConstraint(["model"], ["models.name"], name=op.f("fk_runs_model")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
        sa.UniqueConstraint("run_id", name=op.f("uq_runs_run_id")),
    )
    op.create_index("ix_runs_model", "runs", ["model", "id"], unique=False)
    op.create_index(
        "uq_runs_running",
        "runs",
        ["model"],
        unique=True,
        sqlite_where=sa.text("status = 'running'"),
        postgresql_where=sa.text("status = 'running'"),
    )
    op.create_table(
        "taints",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["model"], ["models.name"], name=op.f("fk_taints_model")),
        sa.PrimaryKeyConstraint("model", "step", name=op.f("pk_taints")),
    )
    op.create_table(
        "endpoints",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("stable", sa.BigInteger(), nullable=True),
        sa.Column("candidate", sa.BigInteger(), nullable=True),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("deployed", sa.Text(), nullable=False),
        sa.Column("aborted", sa.Text(), nullable=False),
        sa.Column("previous", sa.BigInteger(), nullable=True),
        sa.Column("mirror", sa.Float(), nullable=False),
        sa.Column("champion", sa.BigInteger(), nullable=True),
        sa.Column("challenger", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("mirror >= 0 AND mirror <= 1", name=op.f("ck_endpoints_mirror")),
        sa.CheckConstraint(
            "candidate IS NOT NULL OR (weight = 0 AND mirror = 0)", name=op.f("ck_endpoints_candidate_weight")
        ),
        sa.CheckConstraint(
            "candidate IS NULL OR (stable IS NOT NULL AND candidate <> stable)",
            name=op.f("ck_endpoints_candidate_stable"),
        ),
        sa.CheckConstraint("generation >= 1", name=op.f("ck_endpoints_generation")),
        sa.CheckConstraint("weight >= 0 AND weight < 1", name=op.f("ck_endpoints_weight")),
        sa.ForeignKeyConstraint(
            ["model", "candidate"], ["releases.model", "releases.version"], name="fk_endpoints_candidate"
        ),
        sa.ForeignKeyConstraint(
            ["model", "previous"], ["releases.model", "releases.version"], name="fk_endpoints_previous"
        ),
        sa.ForeignKeyConstraint(
            ["model", "stable"], ["releases.model", "releases.version"], name="fk_endpoints_stable"
        ),
        sa.ForeignKeyConstraint(["model"], ["models.name"], name=op.f("fk_endpoints_model")),
        sa.PrimaryKeyConstraint("model", name=op.f("pk_endpoints")),
    )
    op.create_table(
        "rollouts",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("candidate", sa.BigInteger(), nullable=False),
        sa.Column("base", sa.BigInteger(), nullable=False),
        sa.Column("strategy", sa.Text(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("stage", sa.BigInteger(), nullable=False),
        sa.Column("first_generation", sa.BigInteger(), nullable=False),
        sa.Column("stage_generation", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.Text(), nullable=False),
        sa.Column("began_at", sa.Text(), nullable=True),
        sa.Column("passed", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.CheckConstraint("candidate <> base", name=op.f("ck_rollouts_candidate_base")),
        sa.CheckConstraint("number >= 1 AND stage >= 0", name=op.f("ck_rollouts_counters")),
        sa.CheckConstraint(
            "first_generation >= 1 AND stage_generation >= first_generation", name=op.f("ck_rollouts_generations")
        ),
        sa.CheckConstraint("passed = 0 OR passed = 1", name=op.f("ck_rollouts_passed")),
        sa.CheckConstraint(
            "phase = 'progressing' OR phase = 'paused' OR phase = 'awaiting_approval'"
            " OR phase = 'promoted' OR phase = 'aborted' OR phase = 'superseded'",
            name=op.f("ck_rollouts_phase"),
        ),
        sa.ForeignKeyConstraint(["model", "base"], ["releases.model", "releases.version"], name="fk_rollouts_base"),
        sa.ForeignKeyConstraint(
            ["model", "candidate"], ["releases.model", "releases.version"], name="fk_rollouts_candidate"
        ),
        sa.ForeignKeyConstraint(["model"], ["models.name"], name=op.f("fk_rollouts_model")),
        sa.PrimaryKeyConstraint("model", "number", name=op.f("pk_rollouts")),
    )
    op.create_index(
        "uq_rollouts_open",
        "rollouts",
        ["model"],
        unique=True,
        sqlite_where=sa.text("phase = 'progressing' OR phase = 'paused' OR phase = 'awaiting_approval'"),
        postgresql_where=sa.text("phase = 'progressing' OR phase = 'paused' OR phase = 'awaiting_approval'"),
    )
    op.create_table(
        "steps",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("head", sa.Text(), nullable=True),
        sa.Column("components", sa.Text(), nullable=True),
        sa.Column("outputs", sa.Text(), nullable=True),
        sa.Column("facts", sa.Text(), nullable=True),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=True),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("recent", sa.Text(), nullable=True),
        sa.Column("started_at", sa.Text(), nullable=False),
        sa.Column("finished_at", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.CheckConstraint("(status = 'intent') = (finished_at IS NULL)", name=op.f("ck_steps_finished")),
        sa.CheckConstraint("status <> 'intent' OR head IS NOT NULL", name=op.f("ck_steps_intent")),
        sa.CheckConstraint("head IN ('result', 'attempt')", name=op.f("ck_steps_head")),
        sa.CheckConstraint("head IS NULL OR (head = 'result') = (status = 'done')", name=op.f("ck_steps_head_status")),
        sa.CheckConstraint(
            "status <> 'done' OR (components IS NOT NULL AND outputs IS NOT NULL"
            " AND facts IS NOT NULL AND recent IS NOT NULL)",
            name=op.f("ck_steps_complete"),
        ),
        sa.CheckConstraint(
            "status = 'intent' OR status = 'done' OR status = 'failed' OR status = 'interrupted'",
            name=op.f("ck_steps_status"),
        ),
        sa.CheckConstraint(
            "verdict = 'pass' OR verdict = 'inconclusive' OR verdict = 'error' OR verdict = 'fail'",
            name=op.f("ck_steps_verdict"),
        ),
        sa.CheckConstraint("seconds >= 0", name=op.f("ck_steps_seconds")),
        sa.ForeignKeyConstraint(["model"], ["models.name"], name=op.f("fk_steps_model")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_steps_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_steps")),
    )
    op.create_index("ix_steps_run", "steps", ["run_id"], unique=False)
    op.create_index(
        "uq_steps_done",
        "steps",
        ["model", "step", "fingerprint", "run_id"],
        unique=True,
        sqlite_where=sa.text("status = 'done'"),
        postgresql_where=sa.text("status = 'done'"),
    )
    op.create_index(
        "uq_steps_head",
        "steps",
        ["model", "step", "head"],
        unique=True,
        sqlite_where=sa.text("head IS NOT NULL"),
        postgresql_where=sa.text("head IS NOT NULL"),
    )
