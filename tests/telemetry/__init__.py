"""What the service says of itself, and what watches it."""
