"""`python -m trackbed run FILE PIPELINE --PARAMETER VALUE`."""

import os
import subprocess
import sys

import pytest
from conftest import PACKAGE

SCRIPT = '''
from __future__ import annotations

from typing import Annotated, Literal

from trackbed import Range, pipeline, task


class Carried:
    def __init__(self, value: float) -> None:
        self.value = value


@task
def learn(alpha: float, mode: str, fast: bool) -> Carried:
    if mode == "bad":
        raise RuntimeError("cannot learn so")
    return Carried(alpha * (2 if fast else 1))


@task
def look(model: Carried) -> float:
    return model.value


@pipeline
def train(
    alpha: Annotated[float, "Weight decay"] = 0.1,
    mode: Literal["good", "bad"] = "good",
    fast_mode: bool = False,
) -> float:
    """Learns something."""
    return look(learn(alpha, mode, fast_mode))


if __name__ == "__main__":
    print("result", train())
'''


@pytest.fixture
def script(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path


def run(folder, *arguments, program=sys.executable):
    return subprocess.run(
        [program, *arguments], cwd=folder, capture_output=True, text=True,
        env=dict(os.environ, PYTHONPATH=str(PACKAGE)),
    )  # fmt: skip


def test_hints_become_flags(script):
    told = run(script, "-m", "trackbed", "run", "script.py", "train", "--help")
    assert told.returncode == 0
    assert "Learns something." in told.stdout
    assert "--alpha NUMBER" in told.stdout and "Weight decay (0.1)" in told.stdout
    assert "--mode {good,bad}" in told.stdout and "--no-fast-mode" in told.stdout


def test_it_runs(script):
    ran = run(script, "-m", "trackbed", "run", "script.py", "train", "--alpha", "0.5", "--fast-mode")
    assert (ran.returncode, ran.stdout) == (0, "1.0\n"), ran.stderr
    assert "learn" in ran.stderr and "succeeded" in ran.stderr
    again = run(
        script, "-m", "trackbed", "run", "script.py", "--alpha=0.5", "--fast-mode", "--priority=7"
    )
    assert again.stderr.count("from the cache") == 2
    plain = run(script, "script.py")  # as a script, it shares what it can
    assert plain.stdout == "result 0.1\n", plain.stderr


def test_a_parameter_called_priority_keeps_its_flag(tmp_path):
    (tmp_path / "script.py").write_text(
        "from trackbed import pipeline, task\n\n\n"
        "@task\ndef same(x: str) -> str:\n    return x\n\n\n"
        '@pipeline\ndef ask(priority: str = "low") -> str:\n    return same(priority)\n'
    )
    ran = run(tmp_path, "-m", "trackbed", "run", "script.py", "--priority", "high")
    assert (ran.returncode, ran.stdout) == (0, "high\n"), ran.stderr


@pytest.mark.skipif("TRACKBED_PROGRAM" not in os.environ, reason="the program is not built")
def test_the_program_runs_python_files(script):
    ran = run(
        script, "run", "script.py", "train", "--alpha", "0.25",
        program=os.environ["TRACKBED_PROGRAM"],
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (0, "0.25\n"), ran.stderr


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["run", "script.py", "train", "--mode", "bad"], 1, "RuntimeError: cannot learn so"),
        (["run", "script.py", "train", "--alpha", "much"], 2, "invalid float value: 'much'"),
        (["run", "script.py", "train", "--priority", "high"], 2, "invalid int value: 'high'"),
        (["run", "script.py", "train", "--priority", "9999999999"], 2, "priority"),
        (["run", "script.py", "trane"], 2, "has no pipeline 'trane'; it has train"),
        (["run", "nothing.py"], 2, "there is no such file"),
        ([], 2, "usage: trackbed run FILE"),
    ],
)
def test_mistakes(script, arguments, code, message):
    ran = run(script, "-m", "trackbed", *arguments)
    assert ran.returncode == code
    assert message in ran.stderr


def test_a_script_without_a_guard(script):
    text = SCRIPT[: SCRIPT.index("if __name__")] + "train.run()\n"
    (script / "unguarded.py").write_text(text)
    ran = run(script, "unguarded.py")
    assert ran.returncode == 0 and "failed" in ran.stderr
    log = next((script / ".trackbed" / "runs").glob("*/learn/1/log")).read_text()
    assert 'put the call under `if __name__ == "__main__":`' in log
