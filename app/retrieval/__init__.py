"""From a question to ranked passages that are visible now."""
