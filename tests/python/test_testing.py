"""The engine under test: in memory, in virtual time."""

import time

import pytest
import steps
from trackbed import (
    Attempt,
    Engine,
    Executor,
    InvalidArgument,
    NotFound,
    Policy,
    ResourceExhausted,
    RunFailed,
    Tenant,
    pipeline,
    when,
)
from trackbed.testing import FakeExecutor, Lab, assert_events, run_task

pytest_plugins = ["trackbed.pytest_plugin"]


@pipeline
def nightly() -> int:
    value = steps.double.options(name="fetch", retries=3, retry_delay="10m")(1)
    with when(value > 5):
        steps.say("large")
    return value


def test_hours_pass_in_no_time(trackbed_lab):
    lab = trackbed_lab
    lab.fails("fetch", times=2)
    lab.succeeds("fetch", result=7)
    began, start = time.monotonic(), lab.clock.now_ns()
    run = lab.run(nightly)
    assert run.state == "succeeded" and run["fetch"].attempt == 3
    assert lab.clock.now_ns() - start >= 30 * 60 * 10**9  # ten minutes, then twenty
    assert time.monotonic() - began < 10
    assert_events(
        lab.events, "run_submitted", "attempt_failed fetch", "attempt_failed fetch",
        "attempt_succeeded fetch", "attempt_succeeded say", "run_finished",
    )  # fmt: skip
    with pytest.raises(AssertionError, match="did not happen"):
        assert_events(lab.events, "run_finished", "run_submitted")


def test_maps(trackbed_lab):
    @pipeline
    def fan() -> list:
        return steps.double.options(cache=False).map(steps.numbers(3), batch=2)

    lab = trackbed_lab
    lab.maps("double", items=5)
    lab.succeeds("double", times=2)
    lab.fails("double")
    run = lab.run(fan)
    assert run["double"].state == "failed" and "batch 2 of 3" in run["double"].failure
    assert [task.state for task in run["double"].batches] == ["succeeded", "succeeded", "failed"]
    lab.succeeds("double")
    lab.drive(run.retry())
    assert run.state == "succeeded"
    assert len([a for a in lab.executor.attempts if a.task == "double"]) == 4


def test_failures_and_skips(trackbed_lab):
    lab = trackbed_lab
    lab.succeeds("fetch", result=1)
    assert lab.run(nightly)["say"].state == "skipped"
    lab.fails("fetch", exit_code=3)
    run = lab.run(nightly.using(cache=False))
    with pytest.raises(RunFailed, match="exit code 3"):
        run.result()


def test_the_same_story_twice():
    def story():
        with Lab() as lab:
            lab.succeeds("fetch", result=7, seconds=2.5)
            lab.run(nightly)
            return lab.events

    assert story() == story()


def test_a_real_engine_for_tests(trackbed_engine):
    assert trackbed_engine.submit(nightly).result() == 2


def one_at_a_time(**options):
    """An engine whose attempts never end, and which of them were started."""

    class Started(Executor):
        def start(self, attempt: Attempt) -> None:
            self.attempts = [*getattr(self, "attempts", []), attempt.key.split("/")[0]]

    executor = Started()
    slots = {"cpu": 1}
    return Engine(
        in_memory=True, executor=executor, background=False, slots=slots, **options
    ), executor


@pipeline
def short() -> int:
    return steps.double(3)


def test_who_is_more_important_goes_first():
    engine, executor = one_at_a_time()
    with engine:
        engine.submit(short.using(priority=-1, cache=False))
        last = engine.submit(short, cache=False)
        first = engine.submit(short, cache=False, priority=5)
        engine.step()
        assert executor.attempts == [first.id]
        executor.report(executor_key(first), outputs={"result": 6})
        engine.step()
        assert executor.attempts == [first.id, last.id]
        with pytest.raises(InvalidArgument, match="priority"):
            engine.submit(short, priority=2**32)


def executor_key(run):
    return f"{run.id}/double/1"


def test_tenants_have_quotas():
    engine, executor = one_at_a_time(
        tenants=[Tenant("lab"), Tenant("lab/guests", limit={"cpu": 0.5, "mem": "1g"})],
        policy=Policy(order="fair_share", half_life=3600),
    )
    with engine:
        run = engine.submit(short, tenant="lab")
        engine.step()
        assert executor.attempts == [run.id]
        with pytest.raises(ResourceExhausted, match="guests"):
            engine.submit(short.using(tenant="lab/guests"))
        with pytest.raises(NotFound, match="gusts"):
            engine.submit(short, tenant="lab/gusts")
    with pytest.raises(InvalidArgument, match="cuda"):
        one_at_a_time(tenants=[Tenant("lab", limit={"cuda.smem": 1})])[0].step()
    with pytest.raises(InvalidArgument):
        one_at_a_time(policy=Policy(order="lifo"))[0].step()


def test_what_an_executor_raises_is_contained():
    class Picky(Executor):
        def start(self, attempt: Attempt) -> None:
            raise ValueError(f"not today: {attempt.task}")

    executor = Picky()
    with Engine(in_memory=True, executor=executor, slots={"cpu": 1}, background=False) as engine:
        run = engine.submit(nightly.using(cache=False))

        def ended() -> bool:
            return bool(executor.failures)

        assert engine.wait_for(ended, 10)
    assert str(executor.failures[0]) == "not today: fetch"


def test_an_executor_on_a_thread_of_its_own(tmp_path):
    import threading

    class Inline(Executor):
        """Says of every attempt, a little later, that it went well."""

        def start(self, attempt: Attempt) -> None:
            assert attempt.command and attempt.number == 1
            threading.Timer(
                0.05, lambda: self.report(attempt.key, outputs={"result": 6})
            ).start()

    with Engine(in_memory=True, executor=Inline(), slots={"cpu": 4}) as engine:

        @pipeline
        def short() -> int:
            return steps.double(3)

        run = engine.submit(short).wait(20)
        assert run.state == "succeeded" and run["double"].outputs == {"result": 6}


def test_through_files(tmp_path):
    assert run_task(steps.join, tmp_path, split=steps.Split([1], [2])) == [2, 1]
    assert isinstance(FakeExecutor.start, object)
