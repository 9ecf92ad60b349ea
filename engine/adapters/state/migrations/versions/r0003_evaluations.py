"""What the triggers said, and what became of it."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "evaluations",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("first_at", sa.Text(), nullable=False),
        sa.Column("last_at", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("aftermath", sa.Text(), nullable=True),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("settled_at", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "status = 'due' OR status = 'held' OR status = 'not_due' OR status = 'unknown'",
            name=op.f("ck_evaluations_status"),
        ),
        sa.CheckConstraint(
            "aftermath = 'released' OR aftermath = 'stopped' OR aftermath = 'failed' OR aftermath = 'nothing_new'",
            name=op.f("ck_evaluations_aftermath"),
        ),
        sa.CheckConstraint(
            "(settled_at IS NULL) = (aftermath IS NULL) AND (status = 'due' OR aftermath IS NULL)",
            name=op.f("ck_evaluations_settled"),
        ),
        sa.CheckConstraint("count >= 1", name=op.f("ck_evaluations_counted")),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_evaluations")),
    )
    op.create_index("ix_evaluations_model", "evaluations", ["model", "sequence"], unique=False)
    op.create_index(
        "ix_evaluations_due",
        "evaluations",
        ["model", "sequence"],
        unique=False,
        sqlite_where=sa.text("status = 'due'"),
        postgresql_where=sa.text("status = 'due'"),
    )
