"""The engine under test: in memory, in virtual time."""

import time

import pytest
import steps
from trackbed import (
    Attempt,
    DeviceProbe,
    Engine,
    Executor,
    InvalidArgument,
    NotFound,
    Order,
    Policy,
    ResourceExhausted,
    RunFailed,
    Tenant,
    TrackbedError,
    pipeline,
    when,
)
from trackbed.testing import (
    FakeExecutor,
    Lab,
    SeededRandom,
    VirtualClock,
    assert_events,
    run_task,
)

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


class LeastImportant(Order):
    wrong = False

    def rank(self, task, submitted):
        assert (task.demand.cpu, task.members, task.tenant) == (1, 1, 0) and submitted > 0
        if self.wrong:
            raise ValueError("no idea")
        return task.priority


def test_an_order_decides_in_an_engine():
    order = LeastImportant()
    engine, executor = one_at_a_time(policy=Policy(order=order))
    with engine:
        first, last, middle = [
            engine.submit(short, cache=False, priority=priority) for priority in (-1, 9, 3)
        ]
        engine.step()
        assert executor.attempts == [first.id]
        assert middle["double"].explain()["situation"] == "shortage"
        order.wrong = True
        with pytest.raises(TrackbedError, match="no idea"):
            engine.submit(short)
        order.wrong = False
        executor.report(executor_key(first), outputs={"result": 6})
        engine.step()
        assert executor.attempts == [first.id, middle.id]
        # Later it holds nobody up.
        order.wrong = True
        executor.report(executor_key(middle), outputs={"result": 6})
        engine.step()
        assert executor.attempts == [first.id, middle.id, last.id]
    assert {str(error) for error in order.failures} == {"no idea"}


def test_a_device_probe_says_what_there_is():
    class Rack(DeviceProbe):
        answer = {"name": "rack", "cpu": 2, "mem": "1g"}

        def probe(self):
            if self.answer is None:
                raise OSError("no rack")
            return self.answer

    class Idle(Executor):
        def start(self, attempt):
            pass

    rack = Rack()
    options = {"in_memory": True, "executor": Idle(), "background": False, "device_probe": rack}
    with Engine(**options) as engine:
        wide = steps.double.options(resources={"cpu": 3})

        @pipeline
        def too_much() -> int:
            return wide(1)

        with pytest.raises(ResourceExhausted, match="3 cpu"):
            engine.submit(too_much)
    rack.answer = [{"name": "a", "cpu": 2}, {"name": "b", "cpu": 4, "mem": "1g"}]
    with Engine(**options) as engine:
        engine.submit(too_much)
    rack.answer = None
    with pytest.raises(TrackbedError, match="no rack"):
        Engine(**options).step()
    assert [str(error) for error in rack.failures] == ["no rack"]
    rack.answer = "cpu: fast"
    with pytest.raises(InvalidArgument, match="fast"):
        Engine(**options).step()


def test_what_clocks_and_random_numbers_raise_is_contained(capfd):
    class Stopped(VirtualClock):
        def now_ns(self):
            if self.failures:
                raise OSError("no time")
            return super().now_ns()

    class Broken(SeededRandom):
        def next(self):
            raise OSError("no luck")

    clock, random = Stopped(), Broken()
    lab = Lab()
    with Engine(
        in_memory=True, executor=lab.executor, clock=clock, random=random, background=False
    ) as engine:
        engine.step()
        clock.failures.append(OSError("from now on"))
        run = engine.submit(short)
        engine.step()
        assert run["double"].state == "running"
    assert len(clock.failures) > 1 and str(random.failures[0]) == "no luck"
    assert capfd.readouterr() == ("", "")


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
