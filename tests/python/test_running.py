"""Pipelines from their start to their end, each task in a process of its own."""

import asyncio
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time

import pytest
import steps
from conftest import PACKAGE
from trackbed import (
    AlreadyExists,
    ArtifactStore,
    Containers,
    Engine,
    FailedPrecondition,
    ForkError,
    InvalidArgument,
    NotFound,
    RunCancelled,
    RunFailed,
    SecretSource,
    Slurm,
    TrackbedError,
    approval,
    backup_store,
    check_store,
    first_of,
    load,
    pipeline,
    shell,
    task,
    unmapped,
    when,
)


@pipeline
def many_kinds(n: int = 6, text: str = "it's\nhere") -> dict:
    values = steps.numbers(n)
    split = steps.halve(values)
    joined = steps.join(split)
    model = steps.modelled(text)
    return {
        "joined": joined,
        "left": split.left,
        "box": steps.unboxed(steps.boxed(n)),
        "weight": steps.weigh(model),
        "text": steps.read(steps.words(text)),
        "named": [steps.options_of({"a": [1, 2], "b": [3]}), n],
    }


def test_values_of_all_kinds(engine):
    run = engine.submit(many_kinds).wait()
    assert run.state == "succeeded", run.explain_failure()
    assert run.output == {
        "joined": [3, 4, 5, 0, 1, 2],
        "left": [0, 1, 2],
        "box": 6,
        "weight": 2.0,
        "text": "it's\nhere",
        "named": [6, 6],
    }
    assert run["halve"].output == ([0, 1, 2], [3, 4, 5])
    assert run["unboxed"].outputs == {"result": 6}
    assert run["modelled"].output.weights == [0.5, 1.5]
    assert isinstance(run["words"].output, pathlib.Path)
    assert "succeeded" in repr(run["numbers"]) and "6 succeeded" not in repr(run["numbers"])


def test_a_second_run_comes_from_the_cache(engine):
    first = engine.submit(many_kinds).wait()
    second = engine.submit(many_kinds).wait()
    assert all(task.cached for task in second)
    assert second.output == first.output
    third = engine.submit(many_kinds, {"text": "other"}).wait()
    assert third["numbers"].cached and not third["words"].cached
    assert engine.runs["many_kinds"][-1].id == third.id
    assert [run.id for run in engine.runs][-3:] == [first.id, second.id, third.id]
    assert engine.runs[second.id].output == first.output
    with pytest.raises(NotFound, match="did you mean 'words'"):
        third["wordss"]


def test_a_failure_says_what_where_and_what_next(engine):
    @pipeline
    def broken() -> None:
        steps.fail("no luck")

    run = engine.submit(broken).wait()
    with pytest.raises(RunFailed) as error:
        run.result()
    message = str(error.value)
    assert 'task "fail" failed: exit code 1' in message
    assert "ValueError: no luck" in message and "about to fail" in message
    assert "_trackbed/trackbed" not in message  # of the traceback, only what is the user's
    assert f'runs["{run.id}"].retry()' in message


def test_branches(engine):
    @pipeline
    def branches(n: int) -> str:
        with when(steps.odd(n)):
            a = steps.say.options(name="is-odd")("odd")
        with when(~(steps.odd(n) == True)):  # noqa: E712
            b = steps.say.options(name="is-even")("even")
        return steps.say.options(name="join")(first_of(a, b))

    assert engine.submit(branches, {"n": 3}).result() == "odd"
    run = engine.submit(branches, {"n": 4})
    assert run.result() == "even"
    assert run["is-odd"].state == "skipped"


def test_shell_tasks_take_and_give(engine):
    @pipeline
    def mixed(name: str = "it's me") -> int:
        greeting = shell(
            f'printf %s {name} > "$TRACKBED_OUTPUTS/text"; echo size=7 >> "$TRACKBED_OUTPUT"',
            name="greet", outputs={"size": int},
        )  # fmt: skip
        seen = shell(f"cat {greeting.file('text')}; echo; echo {greeting.size}", name="see")
        steps.say.options(after=seen)(steps.read(greeting.file("text")))
        return steps.double(greeting.size)

    run = engine.submit(mixed).wait()
    assert run.result() == 14
    assert run["see"].logs() == "it's me\n7\n"
    assert run["say"].logs() == "saying it's me\n"


def test_functions_that_no_file_holds(engine):
    import numpy

    factor = 3
    table = numpy.arange(4)

    def helper(x: int) -> int:
        return x * factor

    @task
    def closes_over(x: int) -> int:
        return helper(x) + int(table.sum())

    @pipeline
    def local() -> int:
        return closes_over(2)

    run = engine.submit(local).wait()
    assert run.state == "succeeded", run.explain_failure()
    assert run.output == closes_over(2) == 12


def test_arrays_and_frames(engine):
    import numpy
    import pandas

    @task
    def make(n: int) -> numpy.ndarray:
        import numpy

        return numpy.arange(n) * 0.5

    @task
    def frame(values: numpy.ndarray) -> pandas.DataFrame:
        import pandas

        return pandas.DataFrame({"v": values})

    @task
    def mean(data: pandas.DataFrame) -> float:
        return data["v"].mean()

    @pipeline
    def science(n: int = 5) -> float:
        return mean(frame(make(n)))

    run = engine.submit(science).wait()
    assert run.state == "succeeded", run.explain_failure()
    assert run.output == 1.0
    assert run["make"].output.dtype == numpy.float64
    assert isinstance(run["frame"].output, pandas.DataFrame)


def test_maps(engine):
    @pipeline
    def fan(n: int = 10) -> int:
        doubled = steps.double.map(steps.count_up(n), batch=3, concurrency=2)
        twice = steps.double.map(doubled)
        steps.weigh.map([steps.Model([1.0], "a"), steps.Model([2.0], "b")])
        return steps.total(twice)

    run = engine.submit(fan).wait()
    assert run.state == "succeeded", run.explain_failure()
    assert run.output == sum(range(10)) * 4
    assert run["double"].output == [2 * i for i in range(10)]
    assert run["weigh"].output == [1.0, 2.0]
    batches = run["double"].batches
    assert [task.state for task in batches] == ["succeeded"] * 4  # 3 + 3 + 3 + 1
    assert "3 items done" in run["double[0]"].logs() and "1 items done" in run["double[3]"].logs()
    assert run["double"].logs().count("items done") == 4
    assert run["double-items"].outputs == {"count": 10}
    with pytest.raises(NotFound, match="has no task '4'"):
        run["double[4]"]
    with pytest.raises(NotFound, match="has no batches"):
        run["total[0]"]
    again = engine.submit(fan).wait()
    assert again["double"].cached and again.output == run.output


def test_maps_of_nothing_and_of_lists_that_differ(engine):
    @pipeline
    def nothing() -> int:
        return steps.total(steps.double.map(steps.double.map(steps.numbers(0))))

    assert engine.submit(nothing).result() == 0

    @task
    def add(x: int, y: int) -> int:
        return x + y

    @pipeline
    def uneven() -> list:
        return add.map(steps.numbers(3), steps.numbers.options(name="other")(2))

    run = engine.submit(uneven).wait()
    assert run.state == "failed" and run["add"].state == "skipped"
    assert "x has 3 items, y has 2 items" in run["add-items"].logs()


def test_maps_of_parts_and_branches(engine):
    @pipeline
    def parts(n: int = 6, left: bool = True) -> list:
        halves = steps.halve(steps.numbers(n))
        with when(left == True):  # noqa: E712
            chosen = steps.double.options(name="first").map(halves.left)
        with when(left != True):  # noqa: E712
            other = steps.double.options(name="second").map(halves.right)
        return steps.double.options(name="last").map(first_of(chosen, other))

    assert engine.submit(parts).result() == [0, 4, 8]
    assert engine.submit(parts, {"left": False}).result() == [12, 16, 20]


def test_mapped_files(engine, tmp_path):
    @task
    def write(x: int) -> pathlib.Path:
        path = pathlib.Path(f"number-{x}")
        path.write_text(str(x))
        return path

    @task
    def read(path: pathlib.Path) -> int:
        return int(path.read_text())

    @pipeline
    def files() -> list:
        return read.map(write.map(steps.numbers(5), batch=2), batch=3)

    run = engine.submit(files).wait()
    assert run.state == "succeeded", run.explain_failure()
    assert run.output == list(range(5))
    assert [path.name for path in run["write"].output] == [f"number-{i}" for i in range(5)]


def test_batches_run_side_by_side(engine, tmp_path):
    """Each waits until the others are there: they can only end together."""

    @task
    def meet(x: int, folder: str) -> int:
        import os
        import time

        open(os.path.join(folder, str(x)), "w").close()
        while len(os.listdir(folder)) < 3:
            time.sleep(0.01)
        return os.getpid()

    @pipeline
    def together(folder: str) -> list:
        return meet.map(range(3), folder)

    run = engine.submit(together, {"folder": str(tmp_path)}).wait(60)
    assert len(set(run.output)) == 3


def test_a_map_keeps_what_is_done(engine, tmp_path):
    (tmp_path / "broken").touch()

    @pipeline
    def shaky(marks: str) -> list:
        return steps.sometimes.map(range(8), marks, batch=4, concurrency=1)

    run = engine.submit(shaky, {"marks": str(tmp_path)}).wait()
    assert run.state == "failed"
    log = run["sometimes[0]"].logs()
    assert "1 of 4 items failed" in log and "item 3: 3: ValueError: three is broken" in log
    assert run["sometimes[1]"].failure == "signal 9"
    assert 'task "sometimes" failed: exit code 1: batch 0 of 2' in run.explain_failure()
    assert "three is broken" in run.explain_failure()
    (tmp_path / "broken").unlink()
    before = (tmp_path / "calls").read_text().split()
    assert before == ["0", "1", "2", "3", "4", "5"]
    run.retry().wait()
    assert run.state == "succeeded", run.explain_failure()
    assert run.output == [10 * i for i in range(8)]
    # What ended its process comes last.
    assert (tmp_path / "calls").read_text().split()[6:] == ["3", "6", "7", "5"]


def test_asyncio(engine):
    async def both():
        first = many_kinds.using(engine).run_async(4)
        second = many_kinds.using(engine).run_async(5)
        return await asyncio.gather(first, second)

    assert [run.output["box"] for run in asyncio.run(both())] == [4, 5]


def test_listeners(engine):
    seen = []

    def bad(event):
        raise ValueError("no")

    forget = engine.listen(lambda event: seen.append(event["event"]))
    engine.listen(bad)
    engine.submit(many_kinds).wait()
    engine.close()
    assert seen[0] == "run_submitted" and seen[-1] == "run_finished"
    assert str(engine.failures[0]) == "no"
    forget()


def test_cancelling(engine, tmp_path):
    @pipeline
    def endless(path: str) -> None:
        steps.wait_for(path)

    run = engine.submit(endless, {"path": str(tmp_path / "never")})
    deadline = time.monotonic() + 20
    while run["wait_for"].state != "running" and time.monotonic() < deadline:
        time.sleep(0.02)
    run.cancel().wait(30)
    with pytest.raises(RunCancelled):
        run.result()

    async def given_up():
        await asyncio.wait_for(
            endless.using(engine).run_async(str(tmp_path / "never")), timeout=0.5
        )

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(given_up())
    assert engine.runs[-1].wait(30).state == "cancelled"


def test_approvals(engine, tmp_path):
    file = tmp_path / "asks.yaml"
    file.write_text(
        "name: asks\ntasks:\n"
        "- {name: a, approval: {message: 'Go on', approvers: [ada]}}\n"
        "- {name: b, approval: And further, dependencies: [a]}\n"
    )
    run = engine.submit(file)

    wait_for_the_question(run, "a")
    assert run["a"].approval == {"message": "Go on"}
    with pytest.raises(FailedPrecondition, match="may not decide"):
        run["a"].approve(by="bob")
    run["a"].approve(by="ada", comment="fine")
    with pytest.raises(FailedPrecondition, match="decided already: approved by ada: fine"):
        run["a"].reject(by="ada")
    wait_for_the_question(run, "b")
    assert "waits for approval: And further" in run._repr_html_()
    assert "approved by ada: fine" in run._repr_html_()
    run["b"].reject(by="bob", comment="no")
    assert run.wait(30).state == "failed"
    assert run["a"].approval["decision"] == {"approved": True, "by": "ada", "comment": "fine"}
    assert run["b"].approval["decision"] == {"approved": False, "by": "bob", "comment": "no"}
    assert run["b"].state == "failed" and run["a"].state == "succeeded"


@pipeline
def asks_first(enough: int = 3) -> int:
    doubled = steps.double(2)
    with approval(f"Is {doubled} enough?", name="sign-off"):
        return steps.double(doubled)


def wait_for_the_question(run, name):
    until = time.monotonic() + 30
    while run[name].state != "waiting":
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_function_asks_and_goes_on_or_not(engine):
    run = engine.submit(asks_first)
    wait_for_the_question(run, "sign-off")
    assert run["sign-off"].approval == {"message": "Is 4 enough?"}
    run["sign-off"].approve(by="ada")
    assert run.result() == 8
    assert run["sign-off"].output == {}

    run = engine.submit(asks_first)
    wait_for_the_question(run, "sign-off")
    run["sign-off"].reject(by="ada", comment="too little")
    assert run.wait(30).state == "failed"
    assert run["double-2"].state == "skipped"


def test_a_file_is_looked_at_and_run(engine, tmp_path):
    file = tmp_path / "hello.yaml"
    file.write_text(
        "name: hello\nparameters: {who: {default: world}}\ntasks:\n"
        "- {name: greet, command: 'echo line=hello ${{ params.who }} >> $TRACKBED_OUTPUT',\n"
        "   outputs: [line]}\n"
        "- {name: after, command: 'true', dependencies: [greet]}\n"
    )
    hello = load(file)
    assert (hello.name, hello.path) == ("hello", file)
    assert hello.parameters == {"who": {"type": "string", "default": "world"}}
    assert hello.describe() == "greet\nafter  after greet"
    assert "greet" in hello._repr_html_() and "<svg" in hello.graph()
    file.write_text("name: another\ntasks: []\n")  # it stays what it was when it was read
    run = hello.using(engine, progress=False).run(who="Ada")
    assert run["greet"].output == {"line": "hello Ada"}
    assert [found.id for found in hello.using(engine).runs()] == [run.id]
    assert engine.submit(hello, {"who": "Bob"}).wait(30)["greet"].output == {"line": "hello Bob"}
    odd = tmp_path / "odd.yaml"
    odd.write_text("name: odd\nparameters: {self: {}}\ntasks: [{name: a, command: 'true'}]\n")
    assert engine.submit(odd, {"self": "it"}).wait(30).parameters == {"self": "it"}
    with pytest.raises(InvalidArgument, match='did you mean "who"'):
        hello.using(engine).submit(whom="Ada")
    with pytest.raises(InvalidArgument, match="hello.yaml:2:8: tasks: "):
        load(file)


def test_threads(engine):
    results = {}

    def one(number):
        results[number] = engine.submit(many_kinds, {"n": number}).wait().output["box"]

    threads = [threading.Thread(target=one, args=(n,)) for n in range(2, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: n for n in range(2, 6)}


def test_after_a_fork_the_child_is_told(engine):
    engine.submit(many_kinds).wait()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            engine.submit(many_kinds)
            os.write(writer, b"it worked")
        except ForkError as error:
            os.write(writer, str(error).encode())
        except BaseException as error:
            os.write(writer, repr(error).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert b"forked process" in os.read(reader, 1000)
    assert engine.submit(many_kinds).wait().state == "succeeded"


def test_the_store_of_a_forking_process_is_not_opened_in_the_child(engine, tmp_path):
    engine.step()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            for home in (engine.home, tmp_path / "other"):
                try:
                    with Engine(home, durability="process") as own:
                        state = own.submit(many_kinds).wait(60).state
                except ForkError as error:
                    state = str(error)
                os.write(writer, state.encode() + b"\n")
        except BaseException as error:
            os.write(writer, repr(error).encode())
        os._exit(0)
    os.waitpid(child, 0)
    refused, state = os.read(reader, 2000).splitlines()
    assert b"was open in the process" in refused and state == b"succeeded"


def test_a_script_in_processes_of_multiprocessing(tmp_path):
    (tmp_path / "script.py").write_text(
        "import multiprocessing\n"
        "from trackbed import pipeline, task\n"
        "class Box:\n    def __init__(self, value): self.value = value\n"
        "@task\ndef boxed(x: int) -> Box:\n    return Box(x)\n"
        "@task\ndef opened(box: Box) -> int:\n    return box.value\n"
        "@pipeline\ndef both(x: int) -> int:\n    return opened(boxed(x))\n"
        "def child(x):\n    return both.using(progress=False)(x)\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.map(child, [7]))\n"
        "    print(both.using(progress=False, cache=False)(8))\n"
    )
    ran = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300,
        env=dict(os.environ, PYTHONPATH=str(PACKAGE)),
    )  # fmt: skip
    assert ran.stdout == "[7]\n8\n", ran.stderr


def test_an_idle_engine_gives_its_store_back(tmp_path, monkeypatch):
    from trackbed import Engine

    monkeypatch.setenv("TRACKBED_HOME", str(tmp_path / "shared"))
    assert many_kinds.using(progress=False)(3)["box"] == 3
    deadline = time.monotonic() + 20
    while any(t.name == "trackbed" for t in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with Engine(tmp_path / "shared") as other:  # would fail if the store were held
        assert other.runs["many_kinds"][-1].output["box"] == 3


def test_pictures(engine):
    run = engine.submit(many_kinds).wait()
    html = run._repr_html_()
    assert html.count("<rect") >= 9 and "✓ succeeded" in html and "<script" not in html
    assert "numbers" in many_kinds._repr_html_()
    assert list(run.to_frame()["state"].unique()) == ["succeeded"]
    assert [e["event"] for e in run.events()][0] == "run_submitted"


def test_secrets_reach_a_task_and_no_log(engine, monkeypatch):
    monkeypatch.setenv("TOKEN", "hush-hush")

    @task(env={"TOKEN": "secret://env/TOKEN"})
    def peek() -> int:
        import os

        print("the token is", os.environ["TOKEN"])
        return len(os.environ["TOKEN"])

    @pipeline
    def secretive() -> int:
        return peek()

    run = engine.submit(secretive).wait()
    assert run.output == 9
    assert "hush-hush" not in run["peek"].logs()


def test_secrets_from_the_host(tmp_path):
    class Vault(SecretSource):
        def resolve(self, source, name):
            if name != "password":
                raise KeyError(name)
            return f"{source} says hunter2"

    @pipeline
    def login(name: str) -> None:
        shell('test "${#PASSWORD}" = 18 && echo "it is $PASSWORD"', name="check",
              env={"PASSWORD": "secret://vault/password"})  # fmt: skip
        shell("true", name="other", env={"KEY": "secret://vault/key"}, allow_failure=True)

    vault = Vault()
    with Engine(tmp_path / "home", secrets=vault, durability="process") as engine:
        run = engine.submit(login, {"name": "x"}).wait()
        assert run["check"].state == "succeeded"
        assert run["check"].logs() == "it is ***\n"
        assert run["other"].state == "failed" and "key" in run["other"].failure
    assert [type(error) for error in vault.failures] == [KeyError]
    stored = (tmp_path / "home" / "trackbed.db").read_bytes()
    assert b"hunter2" not in stored


def test_mapped_arguments_side_by_side(engine):
    @task
    def add(x: int, y: int, z: int) -> int:
        return x + y + z

    @pipeline
    def sums() -> list:
        return add.map([1, 2, 3], y=range(3), z=unmapped(10))

    assert engine.submit(sums).result() == [11, 13, 15]


def test_ctrl_c_cancels_the_run(tmp_path):
    import signal


    (tmp_path / "script.py").write_text(
        "from trackbed import pipeline, task\n"
        "@task\n"
        "def slow() -> None:\n    import time\n    print('begun', flush=True)\n    time.sleep(60)\n"
        "@pipeline\n"
        "def endless() -> None:\n    slow()\n"
        "if __name__ == '__main__':\n    print(endless.run().state)\n"
    )
    environment = dict(os.environ, PYTHONPATH=str(PACKAGE), TRACKBED_HOME=str(tmp_path / "home"))
    with subprocess.Popen(
        [sys.executable, "script.py"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        while "started" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert out == "cancelled\n" and "stopping the run" in err


CELLS = [
    "import numpy as np\nfrom typing import List\nfrom trackbed import Engine, pipeline, task\nSCALE = 3\n",
    "class Point:\n    def __init__(self, x):\n        self.x = x\n\n    def scaled(self):\n"
    "        return self.x * SCALE\n",
    "def helper(values: np.ndarray) -> float:\n    return float(values.sum())\n",
    "@task\ndef make(n: int) -> Point:\n    return Point(helper(np.arange(n)))\n",
    "@task(retries=1)\ndef use(point: Point) -> float:\n    return point.scaled()\n",
    "@pipeline\ndef cells(n: int = 4) -> float:\n    return use(make(n))\n",
    "with Engine(HOME, slots={'cpu': 2}) as engine:\n    run = engine.submit(cells).wait()\n"
    "    print(run.state, run.output, type(run['make'].output).__module__)\n"
    "    SCALE = 4\n"
    "    again = engine.submit(cells).wait()\n"
    "    print(again.output, again['make'].cached, again['use'].cached)\n",
]


def test_a_notebook(tmp_path):
    """Cells as a notebook runs them: in __main__, without a file, their text in linecache."""


    program = (
        "import linecache\n"
        f"HOME = {str(tmp_path / 'home')!r}\n"
        f"for number, cell in enumerate({CELLS!r}):\n"
        "    name = f'<ipython-input-{number}>'\n"
        "    linecache.cache[name] = (len(cell), None, cell.splitlines(True), name)\n"
        "    exec(compile(cell, name, 'exec'))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True,
        env=dict(os.environ, PYTHONPATH=str(PACKAGE)),
    )  # fmt: skip
    # Point.scaled uses SCALE: both tasks carry the class, so both run again.
    assert ran.stdout == "succeeded 18.0 __main__\n24.0 False False\n", ran.stderr


@pipeline
def worded(text: str = "kept") -> str:
    return steps.read(steps.words(text))


@pytest.mark.parametrize("own", [False, True])
def test_outputs_that_are_gone_come_back(tmp_path, own):
    class Shelf(ArtifactStore):
        gets = 0

        def has(self, digest):
            return (tmp_path / "shelf" / digest).exists()

        def put(self, digest, folder):
            shutil.copytree(folder, tmp_path / "shelf" / digest, symlinks=True)

        def get(self, digest, folder):
            self.gets += 1
            shutil.copytree(tmp_path / "shelf" / digest, folder, symlinks=True, dirs_exist_ok=True)

    shelf = Shelf()
    options = {"slots": {"cpu": 4}, "durability": "process"}
    kept = shelf if own else tmp_path / "shelf"
    with Engine(tmp_path / "home", artifacts=kept, **options) as engine:
        run = engine.submit(worded).wait()
        assert run.output == "kept", run.explain_failure()
    for path in sorted((tmp_path / "home" / "runs").rglob("*")):
        path.chmod(0o700) if path.is_dir() else None
    shutil.rmtree(tmp_path / "home" / "runs")
    with Engine(tmp_path / "home", artifacts=kept, **options) as engine:
        again = engine.submit(worded).wait()
        assert again["words"].state == "succeeded" and again["words"].cached
        assert again["words"].output.read_text() == "kept"
    assert shelf.failures == [] and (shelf.gets > 0) == own


def test_what_cannot_be_kept_is_lost(tmp_path):
    class Full(ArtifactStore):
        def has(self, digest):
            return False

        def put(self, digest, folder):
            raise OSError("the shelf is full")

    store = Full()
    with Engine(tmp_path, slots={"cpu": 4}, durability="process", artifacts=store) as engine:
        with pytest.raises(TrackbedError, match="the shelf is full"):
            run = engine.submit(worded).wait()  # its code is to be kept, too
            raise TrackbedError(run.explain_failure())
    assert all("the shelf is full" in str(error) for error in store.failures)


def test_where_tasks_run(tmp_path):
    with pytest.raises(TrackbedError):
        Engine(tmp_path, run_on=Containers(endpoint="unix:///nowhere.sock")).step()
    with pytest.raises(InvalidArgument, match="--sbatch"):
        Engine(tmp_path, run_on=Slurm(sbatch=["constraint"])).step()
    with pytest.raises(InvalidArgument, match="dokcer"):
        Engine(tmp_path, run_on="dokcer").step()


def test_a_store_is_looked_after(engine, tmp_path):
    engine.submit(worded).wait()
    store = os.path.join(engine.home, "trackbed.db")
    assert check_store(store)["runs"] == 1 and check_store(store)["findings"] == []
    assert backup_store(tmp_path / "copy.db", store)["runs"] == 1
    with pytest.raises(AlreadyExists):
        backup_store(tmp_path / "copy.db", store)
    with pytest.raises(NotFound):
        check_store(tmp_path / "nothing.db")
