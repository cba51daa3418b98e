"""Which task gets how much of which device of one machine."""

from __future__ import annotations

import ctypes
import json
from ctypes import byref, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any, Dict, List, Mapping, NamedTuple, Tuple, Union

from ._native import FORMATS, Struct, Text, bytes_of, library, slot_array
from ._policy import ENFORCEMENTS

_STRATEGIES = {"even": 2, "fill": 1, "best_fit": 3}
_NUMA = {"prefer_single_node": 1, "interleaved": 2, "none": 3}
_ENFORCEMENTS = list(ENFORCEMENTS)
_SHORTFALLS = ["none", "shortage", "fragmentation"]
_MOST_PARTS = 64

Amounts = Mapping[str, Union[int, float, str]]


class Part(NamedTuple):
    """So much of one device."""

    slot: str
    device: str  # "" of cpu and mem of a machine without NUMA nodes
    amount: float  # of mem in bytes
    enforcement: str  # "accounting", "advisory" or "hardware"


class Usage(NamedTuple):
    slot: str
    device: str
    capacity: float
    used: float
    healthy: bool


class Shortfall(NamedTuple):
    """Why something cannot be given now."""

    kind: str  # "none", "shortage" or "fragmentation"
    slot: str
    needed: float
    free: float
    most_on_one_device: float
    missing: float
    message: str


class AllocatorOptions(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("strategy", c_int32), ("numa", c_int32),
        ("no_fragmentation", c_int32), ("quanta", c_void_p), ("quantum_count", c_size_t),
    ]  # fmt: skip


class PartStruct(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("enforcement", c_int32), ("slot", Text), ("device", Text),
        ("thousandths", c_int64), ("numa_node", c_int32), ("reserved", c_int32),
    ]  # fmt: skip


class ShortfallStruct(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("kind", c_int32), ("slot", Text), ("needed", c_int64),
        ("free", c_int64), ("most_on_one_device", c_int64), ("missing", c_int64),
        ("message", Text),
    ]  # fmt: skip


class UsageStruct(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("healthy", c_int32), ("slot", Text), ("device", Text),
        ("capacity", c_int64), ("used", c_int64),
    ]  # fmt: skip


class Allocation:
    """What one task holds. As a context manager it is released at the end of the block."""

    __slots__ = ("id", "_allocator")

    def __init__(self, allocator: "SlotAllocator", number: int) -> None:
        self._allocator = allocator
        self.id = number

    @property
    def parts(self) -> List[Part]:
        """What it is made of, device by device."""
        return self._allocator.parts(self)

    def release(self) -> None:
        self._allocator.release(self)

    def __enter__(self) -> "Allocation":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def __repr__(self) -> str:
        parts = ", ".join(f"{p.amount:g} {p.slot} of {p.device or 'the node'}" for p in self.parts)
        return f"<allocation {parts}>"


class SlotAllocator:
    """Hands out the slots of one machine; by the thread that made it, or one thread at a time.

    `node` describes the machine: YAML or JSON, or the same as a dict.

    >>> from trackbed import SlotAllocator
    >>> allocator = SlotAllocator({"name": "n1", "cpu": 8, "mem": "64g", "devices": [
    ...     {"id": "gpu0", "slot": "cuda.shares"}, {"id": "gpu1", "slot": "cuda.shares"}]})
    >>> half = allocator.allocate({"cpu": 2, "cuda.shares": 0.5})
    >>> [part.device for part in half.parts if part.slot == "cuda.shares"]
    ['gpu1']
    >>> allocator.explain({"cuda.shares": 2}).kind
    'shortage'
    >>> half.release()
    """

    def __init__(
        self,
        node: Union[str, Mapping[str, Any]],
        *,
        strategy: str = "even",
        numa: str = "prefer_single_node",
        allow_fragmentation: bool = True,
    ) -> None:
        content = node if isinstance(node, str) else json.dumps(node)
        options = AllocatorOptions(
            strategy=_STRATEGIES[strategy], numa=_NUMA[numa],
            no_fragmentation=int(not allow_fragmentation),
        )  # fmt: skip
        handle = c_void_p()
        library().call(
            "slot_allocator_create", content, FORMATS["auto"], byref(options), byref(handle)
        )
        self._take(handle)

    def _take(self, handle: c_void_p) -> None:
        self._handle = handle
        self._demands: Dict[Tuple[Any, ...], c_void_p] = {}
        # Calls that are made often do without conversions: places for what they give are made once.
        self._number = c_uint64()
        self._error = c_void_p()
        self._at = (
            handle.value, ctypes.addressof(self._number), ctypes.addressof(self._error),
            library().raw("slot_allocator_allocate"), library().raw("slot_allocator_release"),
        )  # fmt: skip

    def __del__(self) -> None:
        handle = getattr(self, "_handle", None)
        if handle:
            for demand in self._demands.values():
                library().raw("slot_demand_free")(demand)
            library().raw("slot_allocator_free")(handle)

    def copy(self) -> "SlotAllocator":
        """An independent copy: the way to try something out."""
        handle = c_void_p()
        library().call("slot_allocator_copy", self._handle, byref(handle))
        other: SlotAllocator = SlotAllocator.__new__(SlotAllocator)
        other._take(handle)
        return other

    def _demand(self, request: Amounts) -> c_void_p:
        key = tuple(request.items())
        demand = self._demands.get(key)
        if demand is None:
            demand = c_void_p()
            keep: List[Any] = []
            slots = slot_array(request, keep)
            library().call(
                "slot_allocator_prepare", self._handle, slots, len(request), 0, byref(demand)
            )
            self._demands[key] = demand
        return demand

    def allocate(self, request: Amounts) -> Allocation:
        """All of what is asked for, or ResourceExhausted, which says what is short and why."""
        demand = self._demands.get(tuple(request.items())) or self._demand(request)
        handle, number, error, allocate, _ = self._at
        if allocate(handle, demand, number, None, 0, 0, None, error):
            raise self._raised()
        return Allocation(self, self._number.value)

    def release(self, allocation: Allocation) -> None:
        """Gives back exactly what was given."""
        handle, _, error, _, release = self._at
        if release(handle, allocation.id, error):
            raise self._raised()

    def _raised(self) -> BaseException:
        error = c_void_p(self._error.value)
        self._error.value = None
        return library().taken(error)

    def parts(self, allocation: Allocation) -> List[Part]:
        array = (PartStruct * _MOST_PARTS)()
        count = c_size_t()
        library().call(
            "slot_allocator_parts", self._handle, allocation.id, array,
            ctypes.sizeof(PartStruct), _MOST_PARTS, byref(count),
        )  # fmt: skip
        return [
            Part(str(p.slot), str(p.device), p.thousandths / 1000, _ENFORCEMENTS[p.enforcement])
            for p in array[: count.value]
        ]

    def explain(self, request: Amounts) -> Shortfall:
        """Why this could not be given now; `kind` is "none" when it could."""
        found = ShortfallStruct()
        library().call(
            "slot_allocator_explain", self._handle, self._demand(request), byref(found)
        )
        return Shortfall(
            _SHORTFALLS[found.kind], str(found.slot), found.needed / 1000, found.free / 1000,
            found.most_on_one_device / 1000, found.missing / 1000, str(found.message),
        )  # fmt: skip

    def usage(self) -> List[Usage]:
        """Of each device, how much is used."""
        count = c_size_t()
        size = ctypes.sizeof(UsageStruct)
        library().call("slot_allocator_usage", self._handle, None, size, 0, byref(count))
        array = (UsageStruct * max(1, count.value))()
        library().call(
            "slot_allocator_usage", self._handle, array, size, count.value, byref(count)
        )
        return [
            Usage(str(d.slot), str(d.device), d.capacity / 1000, d.used / 1000, bool(d.healthy))
            for d in array[: count.value]
        ]

    def set_healthy(self, device: str, healthy: bool) -> None:
        """Nothing new is given of an unhealthy device."""
        library().call("slot_allocator_set_healthy", self._handle, device, int(healthy))

    def snapshot(self) -> Dict[str, Any]:
        """All live allocations, for `restore`."""
        found: Dict[str, Any] = json.loads(bytes_of("slot_allocator_snapshot", self._handle))
        return found

    def restore(self, snapshot: Mapping[str, Any]) -> List[Allocation]:
        """Takes up what an allocator of the same machine had given: all of it or none."""
        library().call("slot_allocator_restore", self._handle, json.dumps(snapshot))
        return [Allocation(self, item["id"]) for item in snapshot["allocations"]]

    def __len__(self) -> int:
        return int(library().raw("slot_allocator_live_count")(self._handle))

    def to_frame(self) -> Any:
        """`usage` as a pandas DataFrame."""
        import pandas

        return pandas.DataFrame(self.usage(), columns=list(Usage._fields))

    def __repr__(self) -> str:
        sums: Dict[str, List[float]] = {}
        for device in self.usage():
            of_slot = sums.setdefault(device.slot, [0.0, 0.0])
            of_slot[0] += device.used
            of_slot[1] += device.capacity
        parts = [_of(slot, used, capacity) for slot, (used, capacity) in sums.items()]
        return f"<slot allocator: {', '.join(parts)} in use>"

    def _repr_html_(self) -> str:
        from ._svg import use_html

        return use_html(
            [
                (
                    d.device or "the node", _of(d.slot, d.used, d.capacity), d.used, d.capacity,
                    "" if d.healthy else "unhealthy",
                )
                for d in self.usage()
            ]
        )  # fmt: skip


def _of(slot: str, used: float, capacity: float) -> str:
    """ "0.5 of 2 cuda.shares"."""

    def shown(amount: float) -> str:
        return bytes_of("slot_format", slot, round(amount * 1000))

    return f"{shown(used)} of {shown(capacity)} {slot}"


def detect_node() -> str:
    """What this machine has, GPUs included, as a node description in YAML."""
    return bytes_of("node_detect", None)
