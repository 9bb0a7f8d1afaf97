"""What the commands about events and dead letters do."""
