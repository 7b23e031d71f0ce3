"""From retrieved passages to a cited answer."""
