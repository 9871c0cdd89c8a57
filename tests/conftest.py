"""Fixtures that several files of tests share."""

import os
from collections.abc import Iterator

import pytest

# Tests neither rest on the user's cache nor fill it; those of the cache turn it on elsewhere.
os.environ["GRAPHJIT_CACHE"] = "off"  # before the flags are read, also by processes of tests
os.environ["GRAPHJIT_TUNING"] = "off"  # nor do they rest on what was measured here
os.environ["GRAPHJIT_TIER"] = "best"  # nor do they compile everything twice

from graphjit.flags import override


@pytest.fixture
def as_python(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run generated text as Python, but in tests that are marked ``compiled``."""
    with override(jit="compiled" in request.fixturenames):
        yield


@pytest.fixture
def compiled() -> None:
    """Run generated text through Numba."""
