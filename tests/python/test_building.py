"""What can be seen of a pipeline before it runs, and what is wrong with it."""

import inspect
import json
from typing import Annotated, List, Literal

import pytest
import steps
from trackbed import (
    BuildError,
    CarryError,
    Range,
    approval,
    first_of,
    pipeline,
    shell,
    task,
    unmapped,
    when,
)


def line_here() -> int:
    return inspect.currentframe().f_back.f_lineno


def fields(made):
    return made._trace().fields


def test_outside_a_pipeline_a_task_is_a_plain_call():
    assert steps.double(4) == 8
    assert steps.double.map([1, 2, 3]) == [2, 4, 6]
    assert steps.numbers.__name__ == "numbers"


def test_parameters_come_from_the_signature():
    @pipeline
    def made(
        a: int,
        b: Annotated[float, "how much", Range(0, 1)] = 0.5,
        c: Literal["x", "y"] = "x",
        d=True,
    ):
        """Says what it does.

        And more.
        """
        steps.double(a)

    assert fields(made)["parameters"] == {
        "a": {"type": "integer"},
        "b": {
            "type": "number", "default": 0.5, "description": "how much", "minimum": 0, "maximum": 1
        },
        "c": {"type": "string", "default": "x", "choices": ["x", "y"]},
        "d": {"type": "boolean", "default": True},
    }  # fmt: skip
    assert fields(made)["description"] == "Says what it does."


def test_a_parameter_that_the_engine_cannot_hold():
    @pipeline
    def made(values: List[int]):
        steps.total(values)

    with pytest.raises(BuildError, match='parameter "values" is List\\[int\\]'):
        made.describe()


def test_wrong_types_name_the_line_and_both_sides():
    line = None

    @pipeline
    def made():
        nonlocal line
        line = line_here() + 1
        steps.double(steps.say("four"))

    with pytest.raises(BuildError) as error:
        made.describe()
    text = str(error.value)
    assert f"test_building.py:{line}: " in text
    assert 'double() argument "x" is str, expected int' in text
    assert "steps.py:" in text


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: steps.double("a"), "argument \"x\" is 'a', a str; expected int"),
        (lambda: steps.double(), "missing a required argument: 'x'"),
        (lambda: steps.double(1, y=2), "unexpected keyword argument 'y'"),
        (lambda: steps.total([1, "b"]), "expected List\\[int\\]"),
        (lambda: bool(steps.odd(1)), "use `with when"),
        (lambda: list(steps.numbers(3)), "use TASK.map"),
        (lambda: steps.numbers(3) + 1, "calculate in a task"),
        (lambda: when(steps.numbers(3) == 2), "can be compared"),
        (lambda: steps.double.map(4), "nothing to go through"),
        (lambda: steps.double.map(["a"]), "item 0, is 'a', a str; expected int"),
        (lambda: steps.double.map(steps.double(1)), "which has no items"),
        (lambda: steps.double.options(retries=-1), "expected 0 or more"),
        (lambda: steps.double.options(colour=1), "no option 'colour'"),
        (lambda: steps.double.options(timeout="fast"), "expected seconds"),
        (lambda: shell("true", outputs={"x": list}), "expected str, float, int or bool"),
        (lambda: steps.halve([1]).middle, None),
    ],
)
def test_mistakes(call, message):
    @pipeline
    def made():
        call()

    if message is None:
        with pytest.raises(AttributeError, match="it has left, right"):
            made.describe()
    else:
        with pytest.raises(BuildError, match=message) as error:
            made.describe()
        assert ".py:" in str(error.value) or "while" in str(error.value) or "compared" in str(error.value)


def test_what_cannot_be_carried():
    handle = open(__file__)
    secret = lambda x: x  # noqa: E731

    @task
    def uses_file() -> str:
        return handle.read()

    @task
    def uses_lambda() -> int:
        return secret(1)

    @task
    def takes(value) -> None: ...

    @pipeline
    def first():
        uses_file()

    @pipeline
    def second():
        uses_lambda()

    @pipeline
    def third():
        takes({"inner": [1, handle]})

    with handle:
        with pytest.raises(CarryError if False else BuildError, match="pass its path, and open it"):
            first.describe()
        with pytest.raises(BuildError, match="secret, a lambda: write that with def"):
            second.describe()
        with pytest.raises(BuildError, match='argument "value" cannot be carried.*TextIOWrapper'):
            third.describe()
    with pytest.raises(BuildError, match="a lambda cannot be a task"):
        task(lambda x: x)


def test_names_prefixes_and_conditions():
    @pipeline
    def inner(n: int) -> int:
        return steps.double(n)

    @pipeline
    def outer(n: int = 1, mode: str = "it's"):
        a = inner(n)
        b = inner(a)
        with when((a > 3) & ~(b == 4)):
            with when(steps.odd(n)):
                c = steps.double.options(name="special")(b)
        with when(a <= 3):
            d = steps.double(a)
        steps.say.options(after=[c, d], trigger="all_done")("end")
        steps.double(first_of(c, d))

    made = {t["name"]: t for t in fields(outer)["tasks"]}
    assert list(made) == [
        "inner-double", "inner-2-double", "odd", "special", "double", "say", "double-2",
    ]  # fmt: skip
    assert made["special"]["when"] == (
        "((tasks.inner-double.outputs.result > 3) and "
        "(not (tasks.inner-2-double.outputs.result == 4))) and (tasks.odd.outputs.result)"
    )
    assert made["say"]["dependencies"] == ["special", "double"]
    assert made["double-2"]["trigger"] == "none_failed"


def test_options_become_fields():
    @pipeline
    def made():
        steps.double.options(
            retries=2, retry_delay=1.5, timeout="5m", cache=False, resources={"cpu": 2, "mem": "1g"},
            env={"A": "1"}, allow_failure=True,
        )(1)  # fmt: skip
        steps.double.options(resources={"cpu": 0.5, "mem": "1.5g"}).map([1, 2], concurrency=3)

    one, many = fields(made)["tasks"]
    assert one["retry"] == {"max_attempts": 3, "delay": "1500ms", "backoff": 2.0}
    assert (one["timeout"], one["cache"], one["allow_failure"]) == ("5m", False, True)
    assert many["resources"] == {"cpu": 0.5, "mem": "1.5g"}
    assert many["map"] == {"over": "2", "batches": 12, "concurrency": 3}


def test_yaml_and_json_mean_the_same(tmp_path):
    from trackbed._native import NativePipeline

    @pipeline
    def made(n: int = 3):
        parts = steps.halve(steps.numbers(n))
        with when(steps.total(parts.left) > 1):
            shell("echo hello", name="greet")

    with NativePipeline.of_document(made._trace()) as one:
        with NativePipeline.parse(made.to_yaml(), "yaml") as two:
            with NativePipeline.parse(made.to_json(), "json") as three:
                assert one.version == two.version == three.version
    file = made.export(tmp_path / "exported")
    with NativePipeline.load(str(file)) as four:
        assert four.version.startswith("sha256:")
    spec = json.loads((tmp_path / "exported/source/_trackbed/tasks/halve.json").read_text())
    assert spec["function"] == {"module": "steps", "name": "halve"}
    assert (tmp_path / "exported/source/helper_beside.py").exists()


def test_what_the_library_finds_names_the_line():
    line = None

    @pipeline
    def made():
        nonlocal line
        line = line_here() + 1
        steps.double.options(resources={"cpuu": 1})(1)

    with pytest.raises(BuildError) as error:
        made.check()
    assert f"test_building.py:{line}: task \"double\"" in str(error.value)


def test_maps_become_maps():
    @pipeline
    def made(n: int = 3):
        doubled = steps.double.map(steps.numbers(n), batch=100)
        steps.double.map(doubled)
        steps.double.map(range(1000))

    tasks = {task["name"]: task for task in fields(made)["tasks"]}
    assert list(tasks) == [
        "numbers", "double-items", "double", "double-2-items", "double-2", "double-3",
    ]  # fmt: skip
    assert tasks["double"]["map"] == {
        "over": "${{ tasks.double-items.outputs.count }}", "batch": 100,
    }  # fmt: skip
    assert tasks["double"]["dependencies"] == ["numbers", "double-items"]
    assert tasks["double-items"]["outputs"] == {"count": "integer"}
    assert tasks["double-3"]["map"] == {"over": "1000", "batches": 32}
    with pytest.raises(BuildError, match="x has 2 items, y has 3 items"):

        @task
        def add(x: int, y: int) -> int:
            return x + y

        @pipeline
        def uneven():
            add.map([1, 2], [1, 2, 3])

        uneven.check()


def test_unmapped_arguments():
    @task
    def add(x: int, values: List[int]) -> int:
        return x + sum(values)

    assert add.map([1, 2], unmapped([10, 20])) == [31, 32]
    with pytest.raises(BuildError, match="x has 2 items, values has 1"):
        add.map([1, 2], [[1]])


def test_an_approval_asks_about_results_and_lets_its_block_go_on():
    @pipeline
    def made(enough: int = 3):
        doubled = steps.double(2)
        gate = approval(
            f"Is {doubled} enough for {enough}?", name="sign-off", approvers=["ada"], timeout="3d",
            allow_failure=True,
        )  # fmt: skip
        with gate, when(doubled > enough):
            steps.double(doubled)
        steps.total.options(name="refused", after=gate, trigger="any_failed")([1])

    first, asks, goes_on, refused = fields(made)["tasks"]
    assert asks == {
        "name": "sign-off",
        "approval": {
            "message": "Is ${{ tasks.double.outputs.result }} enough for ${{ params.enough }}?",
            "approvers": ["ada"],
            "timeout": "3d",
        },
        "dependencies": ["double"],
        "allow_failure": True,
    }
    assert first["outputs"] == {"result": "integer"}
    assert goes_on["dependencies"] == ["sign-off", "double"]
    assert goes_on["when"] == (
        "(tasks.sign-off.state == 'succeeded') and (tasks.double.outputs.result > params.enough)"
    )
    assert refused["dependencies"] == ["sign-off"] and refused["trigger"] == "any_failed"
    made.check()


def test_what_an_approval_is_not():
    with pytest.raises(BuildError, match="belongs into the body of a @pipeline"):
        approval("Go on?")

    @pipeline
    def taken_for_a_value():
        steps.double(approval("How much?"))

    with pytest.raises(BuildError, match="approval approval.* has no value"):
        taken_for_a_value.check()

    @pipeline
    def one_name():
        approval("Go on?", approvers="ada")

    with pytest.raises(BuildError, match="approvers: found the text 'ada', expected a list"):
        one_name.check()

    @pipeline
    def never():
        approval("Go on?", timeout="soon")

    with pytest.raises(BuildError, match="timeout: found 'soon', expected seconds"):
        never.check()
