"""The commands about state machines and their runs."""
