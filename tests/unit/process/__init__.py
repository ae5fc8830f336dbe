"""What this process has."""
