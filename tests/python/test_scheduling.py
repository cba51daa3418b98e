"""Slots of a machine, and the scheduler of a cluster."""

import pytest
from trackbed import (
    AlreadyExists,
    Cluster,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Order,
    PermissionDenied,
    Placer,
    Principal,
    ResourceExhausted,
    ResourceGroups,
    Scheduler,
    SlotAllocator,
    plan_partitions,
    simulate,
)

NODE = {
    "name": "n1", "cpu": 8, "mem": "64g",
    "devices": [{"id": f"gpu{i}", "slot": "cuda.shares"} for i in range(2)],
}  # fmt: skip


def test_slots_are_given_and_given_back():
    allocator = SlotAllocator(NODE)
    with allocator.allocate({"cpu": 2, "mem": "1g", "cuda.shares": 0.5}) as held:
        assert {part.slot: part.amount for part in held.parts} == {
            "cpu": 2, "mem": 2**30, "cuda.shares": 0.5
        }  # fmt: skip
        assert len(allocator) == 1
        with pytest.raises(ResourceExhausted, match="needs 1.8 cuda.shares, 1.5 of 2 free"):
            allocator.allocate({"cuda.shares": 1.8})
        found = allocator.explain({"cuda.shares": 1.8})
        assert (found.kind, found.needed, found.free) == ("shortage", 1.8, 1.5)
        used = {u.device: u.used for u in allocator.usage() if u.slot == "cuda.shares"}
        assert sorted(used.values()) == [0, 0.5]
    assert len(allocator) == 0
    with pytest.raises(FailedPrecondition):
        held.release()
    assert len(allocator.to_frame()) == 4


def test_what_is_in_use():
    allocator = SlotAllocator(
        {"name": "n", "cpu": 8, "mem": "64g",
         "devices": [{"id": f"g{i}", "slot": "cuda.shares"} for i in range(2)]}
    )  # fmt: skip
    allocator.allocate({"cpu": 2, "mem": "16g", "cuda.shares": 0.5})
    allocator.set_healthy("g0", False)
    assert repr(allocator) == (
        "<slot allocator: 0.5 of 2 cuda.shares, 2 of 8 cpu, 16g of 64g mem in use>"
    )
    html = allocator._repr_html_()
    assert html.count("<rect") == 8 and "unhealthy" in html and "16g of 64g mem" in html

    cluster = Cluster({"g1": {"cpu": 8, "devices": 2}, "c1": {"cpu": 4}, "c2": {"cpu": 2}})
    cluster.submit(1, cpu=1, devices=1.5)
    cluster.submit(2, cpu=3)
    cluster.schedule(now=0)
    cluster.drain_node(cluster.nodes["c2"])
    cluster.submit(3, devices=2)
    assert repr(cluster) == "<cluster: 3 nodes, 2 tasks run, 1 wait>"
    used = {node.node: node for node in cluster.usage()}
    assert used["g1"][1:5] == (True, used["g1"].tasks, 8, used["g1"].cpu_used)
    assert used["g1"].devices_used == 1.5 and used["c2"].devices == 0 and not used["c2"].open
    assert sum(node.cpu_used for node in used.values()) == 4
    assert "1.5 of 2 devices" in cluster._repr_html_() and "closed" in cluster._repr_html_()
    assert list(cluster.to_frame()["node"]) == ["g1", "c1", "c2"]


def test_lines_go_round_boxes():
    from trackbed._svg import _HEIGHT, _Layout

    tasks = [{"name": f"t{i}", "dependencies": [f"t{j}" for j in range(i)]} for i in range(6)]
    layout = _Layout(tasks)
    for name in layout.level:
        x, y = layout.place[name]
        for source, at in [spot for spot in layout.place if not isinstance(spot, str)]:
            lane_x, lane_y = layout.place[source, at]
            if lane_x == x:
                assert not y <= lane_y + 2 <= y + _HEIGHT
    assert layout.line("t0", "t5").count("C") == 5


def test_snapshots_of_slots():
    one = SlotAllocator(NODE)
    one.allocate({"cuda.shares": 1})
    two = SlotAllocator(NODE)
    (taken,) = two.restore(one.snapshot())
    assert [p.amount for p in taken.parts] == [1.0]
    three = two.copy()
    taken.release()
    assert (len(two), len(three)) == (0, 1)


def test_mistakes_in_a_node():
    with pytest.raises(InvalidArgument) as error:
        SlotAllocator({"name": "n1", "cpuu": 3})
    assert error.value.diagnostics and "cpuu" in str(error.value)


def test_a_gang_starts_whole():
    cluster = Cluster({f"g{i}": {"cpu": 8, "devices": 2} for i in range(3)})
    cluster.submit(1, devices=2, members=2, run_time=100)
    cluster.submit(2, devices=2, members=2, run_time=100)
    plan = cluster.schedule(now=0)
    assert [d.task for d in plan.starts] == [1, 1] and plan[0].devices == [0, 1]
    reason = cluster.explain(2)
    assert reason.rule == "fragmentation" and "needs" in reason.sentence
    assert cluster.state_of(2) == "waiting"
    when, _ = cluster.predict(devices=2, run_time=50)  # over before the gang can start
    assert when == 0.0
    cluster.finish(1, now=50)
    assert len(cluster.schedule(now=50).starts) == 2
    cluster.recount()
    assert cluster.stats()["running"] == 1
    with pytest.raises(AlreadyExists):
        cluster.submit(2, devices=1)
    assert list(plan.to_frame()["kind"]) == ["start", "start"]


def test_nodes_that_might_be():
    cluster = Cluster({"g1": {"cpu": 8, "devices": 1}, "g2": {"cpu": 8, "devices": 1}})
    cluster.submit(1, devices=1, run_time=100)
    assert len(cluster.schedule(now=0).starts) == 1
    assert cluster.predict(devices=1)[0] == 0.0
    when, reason = cluster.predict(devices=1, drained=[cluster.nodes["g2"]])
    assert when is not None and when >= 100 and reason.rule == "shortage"
    more = [{"cpu": 8, "devices": 4}]
    assert cluster.predict(devices=1, drained=[1], added=more)[0] == 0.0
    assert cluster.predict(devices=4, added=more)[0] == 0.0
    with pytest.raises(ResourceExhausted):
        cluster.predict(devices=4)
    with pytest.raises(NotFound, match="7"):
        cluster.predict(devices=1, drained=[7])
    assert len(cluster.schedule().starts) == 0
    cluster.recount()


def test_a_placer_in_python():
    class Last(Placer):
        def choose(self, nodes, demand):
            assert demand.devices == 0.5
            return nodes[-1].placement if nodes else None

    cluster = Cluster({f"g{i}": {"cpu": 8, "devices": 1} for i in range(3)}, placer=Last())
    cluster.submit(1, devices=0.5)
    assert [d.node for d in cluster.schedule(now=0)] == ["g2"]


def test_what_a_placer_raises_is_contained():
    class Broken(Placer):
        def choose(self, nodes, demand):
            raise ValueError("no idea")

    placer = Broken()
    cluster = Cluster({"g1": {"cpu": 8, "devices": 1}}, placer=placer)
    cluster.submit(1, devices=1)
    with pytest.raises(Exception, match="no idea"):
        cluster.schedule(now=0)
    assert [str(error) for error in placer.failures] == ["no idea"]
    assert cluster.state_of(1) == "waiting"


def test_an_order_in_python():
    class Fewest(Order):
        def rank(self, task, submitted):
            assert (task.demand.cpu, task.members, submitted) == (1, 1, 3)
            return -task.id

        def share(self, tenant, usage, now):
            return usage.running

    scheduler = Scheduler(order=Fewest(), backfill="strict")
    scheduler.add_node("n", cpu=3)
    a, b = scheduler.add_tenant("a"), scheduler.add_tenant("b")
    for task, tenant in ((1, a), (2, a), (3, a), (4, b)):
        scheduler.submit(task, cpu=1, tenant=tenant, now=3)
    assert [d.task for d in scheduler.schedule()] == [4, 3, 2]
    scheduler.recount()


def test_what_an_order_raises_is_contained():
    class Broken(Order):
        wrong = "rank"

        def rank(self, task, submitted):
            if self.wrong == "rank":
                raise ValueError("no idea")
            return 0

        def share(self, tenant, usage, now):
            raise KeyError("nobody")

    order = Broken()
    scheduler = Scheduler(order=order)
    scheduler.add_node("n", cpu=1)
    with pytest.raises(Exception, match="no idea"):
        scheduler.submit(1, cpu=1, now=0)
    assert scheduler.state_of(1) == "unknown"
    order.wrong = "share"
    for task, tenant in ((1, scheduler.add_tenant("a")), (2, scheduler.add_tenant("b"))):
        scheduler.submit(task, cpu=1, tenant=tenant, now=0)
    with pytest.raises(Exception, match="nobody"):
        scheduler.schedule()
    assert [type(error) for error in order.failures][:2] == [ValueError, KeyError]
    assert sorted(scheduler.state_of(task) for task in (1, 2)) == ["running", "waiting"]


def test_resources_that_are_only_counted():
    scheduler = Scheduler(resources=("cpu", "mem", "licence"))
    scheduler.add_node("n", cpu=8, counted=[1.5])
    tenant = scheduler.add_tenant("a", limit={2: 1})
    scheduler.submit(1, cpu=1, counted=[1], tenant=tenant, now=0)
    scheduler.submit(2, cpu=1, counted=[1], now=0)
    with pytest.raises(ResourceExhausted, match="2 licence"):
        scheduler.submit(3, counted=[2], now=0)
    assert [d.task for d in scheduler.schedule()] == [1]
    assert "licence" in scheduler.explain(2).sentence
    scheduler.recount()


def test_resource_groups():
    groups = ResourceGroups()
    vision, audio = groups.add_tenant("vision"), groups.add_tenant("audio")
    ada = groups.add_tenant("ada", parent=vision)
    groups.add_group("gpus", allowed=[vision], kinds=["batch"], order="drf")
    groups.add_group("all")
    assert groups.add_node("gpus", "g1", cpu=8, devices=1) == 0
    with pytest.raises(PermissionDenied):
        groups.add_node("gpus", "g2", cpu=8, who=Principal(vision))
    groups.add_node("gpus", "g2", cpu=8, who=Principal(vision, operates_nodes=True))
    assert groups.usable(who=Principal(ada)) == ["all", "gpus"]
    assert groups.usable("interactive", who=Principal(ada)) == ["all"]
    assert groups.usable(who=Principal(audio)) == ["all"]
    with pytest.raises(PermissionDenied):
        groups.submit("gpus", 1, cpu=1, tenant=audio, who=Principal(audio), now=0)
    groups.set_quota("gpus", ada, limit={2: 0.5})
    with pytest.raises(ResourceExhausted):
        groups.submit("gpus", 1, devices=1, tenant=ada, who=Principal(ada), now=0)
    groups.submit("gpus", 1, devices=0.5, tenant=ada, who=Principal(ada), now=0)
    groups.submit("gpus", 2, devices=0.5, tenant=ada, who=Principal(ada), now=0)
    assert [d.node for d in groups["gpus"].schedule(now=0)] == ["g1"]
    when, reason = groups.predict("gpus", devices=0.5, tenant=vision, now=0)
    assert when == 0.0 and reason.rule == "none"
    groups.withdraw("gpus", 2, now=0, who=Principal(ada))
    assert groups["gpus"].state_of(2) == "unknown"
    groups.drain_node("gpus", "g1")
    groups.open_node("gpus", "g1")
    groups.set_rules("gpus", allowed=[audio])
    assert groups.usable(who=Principal(ada)) == ["all"]
    with pytest.raises(NotFound, match="cpus"):
        groups["cpus"]
    scheduler = groups["gpus"]
    del groups
    assert scheduler.stats()["running"] == 1  # its groups live as long


def test_partitions():
    taken = [{"id": "m", "profile": "3g.20gb", "start": 0, "free": True}]
    gpu = {"id": "gpu0", "model": "A100-40GB", "instances": taken}
    plan = plan_partitions([gpu], ["7g.40gb"], reconfigure=True)
    assert [step["do"] for step in plan.steps] == ["destroy", "create"]
    assert plan.assignments == [{"profile": "7g.40gb", "device": "gpu0", "start": 0}]
    with pytest.raises(ResourceExhausted, match="destroying free instances would make room"):
        plan_partitions([gpu], ["7g.40gb"])
    with pytest.raises(InvalidArgument, match="V100"):
        plan_partitions([{"id": "g", "model": "V100"}], ["1g.5gb"])


def test_eviction():
    scheduler = Scheduler(preempt_by_priority=True)
    scheduler.add_node("g1", cpu=4, devices=1)
    scheduler.submit(1, devices=1, now=0)
    assert len(scheduler.schedule(now=0).starts) == 1
    scheduler.submit(2, devices=1, priority=5, now=10)
    (eviction,) = scheduler.schedule(now=10).evictions
    assert (eviction.task, eviction.other) == (1, 2)


def test_simulation():
    nodes = "sn,cpu_milli,memory_mib,gpu,model\n" + "".join(
        f"n{i},32000,131072,4,A100\n" for i in range(2)
    )
    jobs = "job,vc,user,submitted,run_seconds,gpus\n" + "".join(
        f"j{i},vc{i % 2},u,{1_000_000 + i * 10},600,{1 + i % 4}\n" for i in range(40)
    )
    result = simulate(nodes, jobs, order="fair_share")
    frame = result.to_frame()
    assert len(frame) == 40 and frame["wait_seconds"].max() > 0
    assert result.summary and "<html" in result.html


def test_simulation_of_placement():
    nodes = "sn,cpu_milli,memory_mib,gpu,model\n" + "".join(
        f"n{i},32000,131072,4,A100\n" for i in range(2)
    )
    pods = (
        "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,"
        "deletion_time,scheduled_time\n"
    ) + "".join(f"p{i},1000,1024,1,500,,LS,Running,{i},{i + 9},{i}\n" for i in range(40))
    frame = simulate(nodes, pods, format="openb", seeds=(1, 2)).to_frame()
    assert list(frame.columns) == [1, 2]
    assert frame.loc[50].between(40, 60).all() and frame.index.max() == 130
