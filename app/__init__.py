"""Anchorage: answers with citations from your own documents."""
