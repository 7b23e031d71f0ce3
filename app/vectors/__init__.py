"""The vector index, derived from the database."""
