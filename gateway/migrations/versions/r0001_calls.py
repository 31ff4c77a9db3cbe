"""The table of calls."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create it."""
    document = sa.JSON().with_variant(JSONB(), "postgresql")
    texts = ("trunk", "from", "to", "agent", "provider", "codec")
    documents = ("setup", "media", "turns", "dtmf", "tools", "usage", "alarms")
    op.create_table(
        "calls",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("gateway", sa.Text, nullable=False),
        sa.Column("direction", sa.Text, nullable=False),
        *(sa.Column(name, sa.Text) for name in texts),
        sa.Column("started_at", sa.Text, nullable=False),
        sa.Column("answered_at", sa.Text),
        sa.Column("ended_at", sa.Text),
        sa.Column("duration_s", sa.Float),
        sa.Column("ended_by", sa.Text),
        sa.Column("end_reason", sa.Text),
        sa.Column("sip_status", sa.Integer),
        sa.Column("mos", sa.Float),
        *(sa.Column(name, document, nullable=False) for name in documents),
        sa.Column("recording", sa.Text),
    )
    op.create_index("calls_started_at", "calls", ["started_at"])
    op.create_index("calls_trunk", "calls", ["trunk", "id"])
    op.create_index("calls_agent", "calls", ["agent", "id"])
    op.create_index("calls_mos", "calls", ["mos"])


def downgrade() -> None:
    """Drop it, with every record."""
    op.drop_table("calls")
