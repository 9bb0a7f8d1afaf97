"""Ready-made teams; each has an extra of its own that brings its tools."""
