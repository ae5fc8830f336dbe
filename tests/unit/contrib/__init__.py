"""Plug-ins that need no other package."""
