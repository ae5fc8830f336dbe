"""What a pool must be able to do with a raw connection."""
