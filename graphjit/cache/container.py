"""The file format of one cache entry: a JSON header, then named parts of bytes.

::

    magic 8 | version 4 | length of the header 8 | digest of the header 32 | header | parts

The header holds the key, the manifest, and name, length and digest of each part. All is checked
before anything is believed, and nothing in it is ever executed by reading it: no pickle.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from graphjit.digests import digest, hexadecimal
from graphjit.records import NamedTuple

MAGIC = b"GRPHJIT\n"
VERSION = 2
PREFIX = struct.Struct(">8sIQ32s")


class Damaged(ValueError):  # noqa: N818 - an entry is damaged
    """Bytes that are no entry: truncated, changed, or of another version."""


class OtherVersion(Damaged):
    """An entry in the format of another version of the library, which may be whole."""


class Entry(NamedTuple):
    """What is kept under one key.

    Attributes:
        manifest: Anything that JSON can hold.
        blobs: Bytes by name: object code, arrays, texts.
    """

    manifest: dict[str, Any]
    blobs: dict[str, bytes]


def packed(key: str, manifest: Mapping[str, Any], blobs: Mapping[str, bytes]) -> bytes:
    """An entry as the bytes of its file.

    Raises:
        TypeError, ValueError: the manifest is nothing that JSON can hold.
    """
    parts = [[name, len(blob), hexadecimal(blob)] for name, blob in blobs.items()]
    header = json.dumps({"key": key, "manifest": manifest, "parts": parts}).encode()
    prefix = PREFIX.pack(MAGIC, VERSION, len(header), digest(header))
    return b"".join([prefix, header, *blobs.values()])


def unpacked(data: bytes, key: str) -> Entry:
    """The entry that a file's bytes hold.

    Raises:
        Damaged: they are not what was written under this key.
    """
    view = memoryview(data)
    try:
        header = header_of(view)
        blobs = parts_of(view[PREFIX.size + PREFIX.unpack_from(data)[2] :], header["parts"])
        entry, written = Entry(dict(header["manifest"]), blobs), header["key"]
    except Damaged:
        raise
    except (KeyError, TypeError, ValueError) as fault:
        raise Damaged(f"its header is malformed ({fault})") from None
    if written != key:
        raise Damaged("it holds the entry of another key")
    return entry


def parts_of(view: memoryview, parts: Sequence[tuple[str, int, str]]) -> dict[str, bytes]:
    """The named parts, which must fill the view.

    Raises:
        Damaged: they do not, or one does not match its checksum.
    """
    blobs, place = {}, 0
    for name, length, told in parts:
        blobs[name], place = bytes(view[place : place + length]), place + length
        if hexadecimal(blobs[name]) != told:
            raise Damaged(f"part {name!r} does not match its checksum")
    if place != len(view):
        raise Damaged(f"its parts have {len(view)} bytes, not {place}")
    return blobs


def header_of(view: memoryview) -> Any:
    """The header, checked.

    Raises:
        Damaged: it is none, or of another version.
    """
    if len(view) < PREFIX.size:
        raise Damaged("it is cut off")
    magic, version, length, told = PREFIX.unpack_from(view)
    if magic != MAGIC:
        raise Damaged("it is no entry of this cache")
    if version != VERSION:
        raise OtherVersion(f"its format has version {version}, not {VERSION}")
    header = view[PREFIX.size : PREFIX.size + length]
    if digest(header) != told:
        raise Damaged("its header does not match its checksum")
    return json.loads(bytes(header))
