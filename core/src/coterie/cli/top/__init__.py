"""`coterie top`: the team at work, live in a terminal."""
