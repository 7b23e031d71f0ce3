"""HTTP: one router a resource, nothing of the domain."""
