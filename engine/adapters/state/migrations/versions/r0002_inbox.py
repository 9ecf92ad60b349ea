"""The inbox of events from outside."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "inbox",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("received_at", sa.Text(), nullable=False),
        sa.Column("handled_at", sa.Text(), nullable=True),
        sa.Column("handled_by", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "kind = 'manual' OR kind = 'webhook' OR kind = 'upstream'",
            name=op.f("ck_inbox_kind"),
        ),
        sa.CheckConstraint("id <> '' AND model <> ''", name=op.f("ck_inbox_named")),
        sa.CheckConstraint("(handled_at IS NULL) = (handled_by IS NULL)", name=op.f("ck_inbox_handled")),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_inbox")),
        sa.UniqueConstraint("model", "id", name="uq_inbox_id"),
    )
    op.create_index(
        "ix_inbox_pending",
        "inbox",
        ["model", "sequence"],
        unique=False,
        sqlite_where=sa.text("handled_at IS NULL"),
        postgresql_where=sa.text("handled_at IS NULL"),
    )
