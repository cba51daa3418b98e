"""The tests of the Python package. They need libtrackbed.so ($TRACKBED_LIBRARY)."""

import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parents[2] / "bindings" / "python"


@pytest.fixture
def engine(tmp_path):
    from trackbed import Engine

    with Engine(tmp_path / "home", slots={"cpu": 8}, durability="process") as opened:
        yield opened
