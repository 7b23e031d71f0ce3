"""Which SECRET_KEY the hash of an API key was made under"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Nullable: during a deploy the release before this one goes on writing rows.
    with op.batch_alter_table("api_keys") as batch_op:
        batch_op.add_column(sa.Column("secret_id", sa.String(length=16), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("api_keys") as batch_op:
        batch_op.drop_column("secret_id")
