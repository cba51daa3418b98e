"""For pytest: the fixtures `trackbed_lab` (an engine that runs nothing, in virtual time) and
`trackbed_engine` (one that runs tasks, in a folder of the test's own)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterator

import pytest

if TYPE_CHECKING:
    from .engine import Engine
    from .testing import Lab


@pytest.fixture
def trackbed_lab() -> "Iterator[Lab]":
    from .testing import Lab

    with Lab() as lab:
        yield lab


@pytest.fixture
def trackbed_engine(tmp_path: Any) -> "Iterator[Engine]":
    from .engine import Engine

    with Engine(tmp_path / "home", slots={"cpu": 4}, durability="process") as engine:
        yield engine
