"""Implementations of the ports. Drivers' exceptions are translated here, once."""
