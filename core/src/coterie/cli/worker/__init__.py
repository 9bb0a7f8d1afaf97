"""What the commands about workers do."""
