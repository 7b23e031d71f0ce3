"""The truth: schema, sessions and migrations."""
