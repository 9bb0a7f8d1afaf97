"""What others see of a run while it goes on, and afterwards: spans, metrics, logs. Imported only where it is used."""
