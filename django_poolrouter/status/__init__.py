"""The pools of all processes of a project on this host."""
