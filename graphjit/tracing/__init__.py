"""From a Python function to a graph: arguments, the user's lines, the trace, its guards."""
