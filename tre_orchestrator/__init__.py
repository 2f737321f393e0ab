"""A Trusted Research Environment: locked workspaces on approved data, and one checked way out."""

__version__ = "0.1.0"
