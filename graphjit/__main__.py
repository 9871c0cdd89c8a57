"""``python -m graphjit``."""

from __future__ import annotations

import sys

from graphjit.cli import main

if __name__ == "__main__":
    sys.exit(main())
