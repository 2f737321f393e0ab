"""A real one-node Kubernetes cluster for tests, in namespaces of its own, built from pinned sources."""
