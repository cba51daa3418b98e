"""The package as a whole: what it needs, how fast it loads, that its examples are true."""

import doctest
import importlib
import os
import pathlib
import subprocess
import sys
import time

import pytest
from conftest import PACKAGE

LIBRARY = os.environ.get("TRACKBED_LIBRARY", "")
SUPERVISOR = os.environ.get("TRACKBED_SUPERVISOR", "")
CONTAINER_INIT = os.path.join(os.path.dirname(SUPERVISOR), "trackbed-container-init")


def python(*arguments, **more):
    return subprocess.run(
        [sys.executable, *arguments], check=True, capture_output=True, text=True, **more
    ).stdout


@pytest.mark.parametrize(
    "name",
    [
        "__init__", "_trace", "_shell", "_task", "_pipeline", "slots", "cluster", "groups",
        "partitions", "ports", "testing",
    ],
)  # fmt: skip
def test_examples_in_docstrings(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKBED_HOME", str(tmp_path))
    module = importlib.import_module("trackbed" + ("" if name == "__init__" else "." + name))
    failed, tried = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert tried > 0 and failed == 0


def test_typed():
    pytest.importorskip("mypy")
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-incremental"], cwd=PACKAGE, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout


def test_what_users_write_is_typed(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "user.py").write_text(
        "from trackbed import pipeline, task\n"
        "@task\n"
        "def add(a: int, b: int) -> int:\n    return a + b\n"
        "@pipeline\n"
        "def sums(x: int = 1) -> int:\n    return add(add(x, 2), 3)\n"
        "wrong: str = add(1, 2)\n"
        "add('a', 1)\n"
        "sums(y=1)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "user.py"], cwd=tmp_path, capture_output=True,
        text=True, env=dict(os.environ, MYPYPATH=str(PACKAGE)),
    )  # fmt: skip
    lines = [line for line in ran.stdout.splitlines() if line.startswith("user.py")]
    assert [line.split(":")[1] for line in lines if "error" in line] == ["8", "9", "10"], ran.stdout


def test_import_is_quick_and_loads_nothing_foreign():
    code = (
        "import sys, time; before = set(sys.modules); start = time.process_time();"
        "import trackbed; spent = time.process_time() - start;"
        "print(spent, *sorted({m.partition('.')[0] for m in set(sys.modules) - before}))"
    )
    best = 1.0
    for _ in range(5):
        spent, *modules = python("-c", code, env=dict(os.environ, PYTHONPATH=str(PACKAGE))).split()
        best = min(best, float(spent))
        assert not {"numpy", "pandas", "rich", "tqdm", "ctypes"} & set(modules)
    assert best <= 0.05


@pytest.mark.skipif(not (LIBRARY and SUPERVISOR), reason="there is nothing to put into a wheel")
def test_the_wheel_needs_nothing_else(tmp_path):
    wheel = python(
        str(PACKAGE / "build_wheel.py"), "--library", LIBRARY, "--supervisor", SUPERVISOR,
        "--container-init", CONTAINER_INIT, "--out", str(tmp_path),
    ).strip()  # fmt: skip
    again = python(
        str(PACKAGE / "build_wheel.py"), "--library", LIBRARY, "--supervisor", SUPERVISOR,
        "--container-init", CONTAINER_INIT, "--out", str(tmp_path / "again"),
    ).strip()  # fmt: skip
    assert pathlib.Path(wheel).read_bytes() == pathlib.Path(again).read_bytes()
    site = tmp_path / "site"
    python("-m", "pip", "install", "--no-index", "--quiet", "--target", str(site), wheel)
    assert sorted(p.name for p in site.iterdir() if p.name != "bin") == [
        "trackbed", "trackbed-0.1.0.dist-info",
    ]  # fmt: skip
    (tmp_path / "user.py").write_text(
        "from trackbed import pipeline, task\n"
        "@task\n"
        "def double(x: int) -> int:\n    return 2 * x\n"
        "@pipeline\n"
        "def made(x: int = 21) -> int:\n    return double(x)\n"
        "if __name__ == '__main__':\n    print(made())\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("TRACKBED", "PYTHON"))}
    out = python(  # without site: no other package can be imported
        "-S", "user.py", cwd=tmp_path, env=dict(environment, PYTHONPATH=str(site))
    )
    assert out == "42\n"


def test_an_engine_that_idles_costs_no_time(engine):
    engine.step()
    start = time.process_time()
    time.sleep(1)
    assert time.process_time() - start < 0.2


def test_no_library_is_a_clear_error():
    ran = subprocess.run(
        [sys.executable, "-c", "import trackbed; trackbed.detect_node()"],
        capture_output=True, text=True,
        env=dict(os.environ, TRACKBED_LIBRARY="/nowhere.so", PYTHONPATH=str(PACKAGE)),
    )  # fmt: skip
    assert ran.returncode == 1 and "libtrackbed.so is not there" in ran.stderr
