"""From a call in Python to native code, without Python in between."""
