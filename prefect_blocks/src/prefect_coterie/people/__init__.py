"""People in the loop of flow runs: questions as forms of a run that waits, and what becomes of the answers."""
