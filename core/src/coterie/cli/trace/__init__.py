"""What `coterie trace` does: showing where the time of a run went."""
