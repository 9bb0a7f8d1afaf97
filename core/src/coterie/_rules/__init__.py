"""The rules: pure decisions over frozen values. No I/O, no clock, no random, no framework."""
