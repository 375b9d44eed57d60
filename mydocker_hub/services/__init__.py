"""Hub-managed services: each a process of its own, started by the hub (`hubconfig`)."""
