"""Conversations, feedback, collection settings, metadata, and what a worker keeps between its stages"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def new_columns() -> dict[str, list[sa.Column[object]]]:
    """By table; with defaults of the database: during a deploy the release before this one goes on writing rows."""
    return {
        "collections": [sa.Column("settings", sa.JSON(), nullable=False, server_default=sa.text("'{}'"))],
        "document_versions": [
            sa.Column("metadata", sa.JSON(), nullable=False, server_default=sa.text("'{}'")),
            sa.Column("parsed", sa.LargeBinary(), nullable=True),
            sa.Column("title", sa.String(length=500), nullable=True),
        ],
        "chunks": [
            sa.Column("embedding_hash", sa.String(length=64), nullable=True),
            sa.Column("embedding", sa.LargeBinary(), nullable=True),
        ],
        "jobs": [
            sa.Column("cancel_requested", sa.Boolean(), nullable=False, server_default=sa.false()),
            sa.Column("progress", sa.JSON(), nullable=False, server_default=sa.text("'{}'")),
        ],
        "query_log": [
            sa.Column("session_id", sa.Uuid(), nullable=True),
            sa.Column("answer", sa.Text(), nullable=False, server_default=sa.text("''")),
            sa.Column("chunk_ids", sa.JSON(), nullable=False, server_default=sa.text("'[]'")),
            sa.Column("model", sa.String(length=200), nullable=False, server_default=sa.text("''")),
            sa.Column("prompt_tokens", sa.Integer(), nullable=False, server_default=sa.text("0")),
            sa.Column("completion_tokens", sa.Integer(), nullable=False, server_default=sa.text("0")),
            sa.Column("cost_usd", sa.Double(), nullable=False, server_default=sa.text("0")),
        ],
    }


def upgrade() -> None:
    for table, columns in new_columns().items():
        with op.batch_alter_table(table) as batch_op:
            for column in columns:
                batch_op.add_column(column)
    op.create_index("ix_chunks_embedding_hash", "chunks", ["tenant_id", "embedding_hash"])
    op.create_table(
        "sessions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("collection_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_sessions_tenant_id_tenants")),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            ["collections.id"],
            name=op.f("fk_sessions_collection_id_collections"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
    )
    op.create_index("ix_sessions_listing", "sessions", ["tenant_id", "created_at", "id"])
    op.create_index(op.f("ix_sessions_expires_at"), "sessions", ["expires_at"])
    op.create_table(
        "turns",
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("standalone", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("grounded", sa.Boolean(), nullable=False),
        sa.Column("citations", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name=op.f("fk_turns_session_id_sessions"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("session_id", "position", name=op.f("pk_turns")),
    )
    op.create_table(
        "feedback",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("rating", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("corrected_answer", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_feedback_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feedback")),
        sa.UniqueConstraint("tenant_id", "request_id", name=op.f("uq_feedback_tenant_id_request_id")),
    )
    op.create_index("ix_feedback_listing", "feedback", ["tenant_id", "created_at", "id"])


def downgrade() -> None:
    for table in ("feedback", "turns", "sessions"):
        op.drop_table(table)
    op.drop_index("ix_chunks_embedding_hash", "chunks")
    for table, columns in new_columns().items():
        with op.batch_alter_table(table) as batch_op:
            for column in columns:
                batch_op.drop_column(column.name)
