"""Digests of bytes: what tells that nothing has changed."""

from __future__ import annotations

try:
    from _blake2 import blake2b  # ``hashlib`` loads OpenSSL on the way, which takes 3 ms
except ImportError:
    from hashlib import blake2b

SIZE = 32  # bytes


def digest(content: bytes | memoryview) -> bytes:
    """The digest of some bytes, BLAKE2b with 256 bits (RFC 7693)."""
    return blake2b(content, digest_size=SIZE).digest()


def hexadecimal(content: bytes | memoryview) -> str:
    """The digest in hexadecimal digits."""
    return digest(content).hex()
