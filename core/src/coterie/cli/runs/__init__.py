"""The commands about runs in a journal."""
