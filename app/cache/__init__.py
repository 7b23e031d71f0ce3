"""Answers kept for as long as their retrieval would be the same."""
