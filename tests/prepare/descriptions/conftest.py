"""An endpoint for the tests of this room."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers.llm_server import Llm


@pytest.fixture
def llm() -> Iterator[Llm]:
    server = Llm()
    yield server
    server.gate.set()
    server.shutdown()
    server.server_close()
