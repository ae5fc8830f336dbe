"""A module that raises when it is imported, and not ImportError."""

raise RuntimeError("no engine")
