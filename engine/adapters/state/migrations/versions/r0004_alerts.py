"""Alerts, and what their receivers were told."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("remedy", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("episode", sa.BigInteger(), nullable=False),
        sa.Column("fired_at", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.Text(), nullable=False),
        sa.Column("resolved_at", sa.Text(), nullable=True),
        sa.CheckConstraint("severity = 'warning' OR severity = 'critical'", name=op.f("ck_alerts_severity")),
        sa.CheckConstraint("episode >= 1", name=op.f("ck_alerts_episode")),
        sa.CheckConstraint("resolved_at IS NULL OR resolved_at >= fired_at", name=op.f("ck_alerts_resolved")),
        sa.PrimaryKeyConstraint("model", "fingerprint", name=op.f("pk_alerts")),
    )
    op.create_table(
        "told",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("receiver", sa.Text(), nullable=False),
        sa.Column("grouping", sa.Text(), nullable=False),
        sa.Column("since", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("sent_at", sa.Text(), nullable=True),
        sa.Column("alerts", sa.Text(), nullable=False),
        sa.Column("recent", sa.Text(), nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("next_at", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.CheckConstraint("sequence >= 0 AND failures >= 0", name=op.f("ck_told_counted")),
        sa.PrimaryKeyConstraint("model", "receiver", "grouping", name=op.f("pk_told")),
    )
