"""The Call-ID of the dialog, and the call's timeline."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them; calls recorded before have neither."""
    document = sa.JSON().with_variant(JSONB(), "postgresql")
    op.add_column("calls", sa.Column("sip_call_id", sa.Text))
    op.add_column("calls", sa.Column("timeline", document, nullable=False, server_default=sa.text("'{}'")))
    op.create_index("calls_sip_call_id", "calls", ["sip_call_id"])


def downgrade() -> None:
    """Drop both."""
    op.drop_index("calls_sip_call_id", "calls")
    op.drop_column("calls", "timeline")
    op.drop_column("calls", "sip_call_id")
