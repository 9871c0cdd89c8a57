"""Passes: from a graph to a better one of the same meaning, or to its derivative."""
