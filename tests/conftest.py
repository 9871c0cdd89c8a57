"""Fixtures that several files of tests share."""

from collections.abc import Iterator

import pytest

from graphjit.flags import override


@pytest.fixture
def as_python(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run generated text as Python, but in tests that are marked ``compiled``."""
    with override(jit="compiled" in request.fixturenames):
        yield


@pytest.fixture
def compiled() -> None:
    """Run generated text through Numba."""
