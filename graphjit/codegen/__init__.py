"""From a fused graph to a native program: loop IR, memory plan, renderer, build."""
