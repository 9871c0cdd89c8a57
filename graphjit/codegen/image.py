"""Images: machine code with all distances in it resolved, which runs wherever it is put."""

from __future__ import annotations

import json
import struct

from graphjit.records import NamedTuple

MAGIC = b"GJIMAGE1"
HEADER = struct.Struct("<8sQ")  # the magic, and how long the description after it is


class Image(NamedTuple):
    """Machine code, with all distances in it resolved.

    Attributes:
        content: Functions, constants, jumps to what is imported, and slots for its addresses.
        functions: Where each function begins.
        imports: The slot for the address of each imported function.
    """

    content: bytes
    functions: dict[str, int]
    imports: dict[str, int]

    def written(self) -> bytes:
        """As bytes that ``read`` takes."""
        text = json.dumps([self.functions, self.imports]).encode()
        return HEADER.pack(MAGIC, len(text)) + text + self.content

    @classmethod
    def read(cls, written: bytes) -> Image:
        """The image of such bytes."""
        _, length = HEADER.unpack_from(written)
        start = HEADER.size + length
        functions, imports = json.loads(written[HEADER.size : start])
        return cls(written[start:], functions, imports)


def is_image(content: bytes) -> bool:
    """Whether these bytes are an image rather than an object file."""
    return content.startswith(MAGIC)
