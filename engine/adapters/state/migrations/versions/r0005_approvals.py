"""Approvals of releases, and models that are protected from being destroyed."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "approvals",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("artifact", sa.Text(), nullable=False),
        sa.Column("agrees", sa.Integer(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.CheckConstraint("agrees = 0 OR agrees = 1", name=op.f("ck_approvals_agrees")),
        sa.ForeignKeyConstraint(
            ["model", "version"], ["releases.model", "releases.version"], name=op.f("fk_approvals_release")
        ),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_approvals")),
    )
    op.create_index("ix_approvals_release", "approvals", ["model", "version"])
    op.create_table(
        "protected",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["model"], ["models.name"], name=op.f("fk_protected_model")),
        sa.PrimaryKeyConstraint("model", name=op.f("pk_protected")),
    )
