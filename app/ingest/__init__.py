"""From accepted bytes to visible, indexed chunks."""
