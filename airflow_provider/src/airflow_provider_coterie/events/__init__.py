"""Events of coterie's bus in DAGs: published, waited for, and starting runs."""
