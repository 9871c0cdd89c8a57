"""What pictures of every kind share: colours (blue and orange differ for all eyes), safe text."""

from __future__ import annotations

import re

from graphjit.draw.scene import Box

UNSTORABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

FORWARD = ("#dbeafe", "#2563eb")
ADJOINT = ("#ffedd5", "#ea580c")
PALETTE = {
    "input": ("#dcfce7", "#16a34a"),
    "constant": ("#f1f5f9", "#94a3b8"),
    "output": ("#ede9fe", "#7c3aed"),
    "port": ("#64748b", "#64748b"),
    "group": ("#f8fafc", "#64748b"),
    "reference": ("#ffffff", "#94a3b8"),
}


def colours(box: Box) -> tuple[str, str]:
    """The colours of a box's inside and of its border."""
    if box.kind == "operation":
        return ADJOINT if box.adjoint else FORWARD
    return PALETTE[box.kind]


def storable(text: str) -> str:
    """The text without the characters that no XML and no UTF-8 file may hold."""
    return UNSTORABLE.sub("\ufffd", text)
