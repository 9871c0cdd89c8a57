"""What the races of peers say on stderr, and who takes part in them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from peers.registry import Competitor


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def reason(answer: Mapping[str, Any]) -> str:
    """Why there is no time."""
    return str(answer.get("unsupported") or answer.get("failed"))


def taking_part(competitors: Iterable[Competitor], wanted: str) -> list[Competitor]:
    """Those asked for and installed; the others are named."""
    packages = {"graphjit", *wanted.split(",")}
    chosen = [c for c in competitors if not wanted or c.package in packages]
    for competitor in chosen:
        if competitor.missing():
            tell(f"{competitor.name} is left out: {competitor.missing()}")
    return [c for c in chosen if not c.missing()]
