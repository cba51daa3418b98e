"""Who goes first in an engine, and what everybody may use at once."""

from __future__ import annotations

import ctypes
import dataclasses
from ctypes import c_double, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from typing import TYPE_CHECKING, Any, List, Mapping, Optional, Sequence, Union

from ._native import Slot, Struct, Text, slot_array, text

if TYPE_CHECKING:
    from .ports import Order

ORDERS = {"fifo": 0, "lifo": 1, "drf": 2, "fair_share": 3}
BACKFILLS = {"strict": 1, "any": 2, "easy": 3, "conservative": 4}
ENFORCEMENTS = {"accounting": 0, "advisory": 1, "hardware": 2}
WORK = {"batch": 0, "interactive": 1, "inference": 2, "system": 3}
Amount = Union[int, float, str]
Seconds = Union[int, float]


@dataclasses.dataclass(frozen=True)
class Tenant:
    """Somebody for whom runs are submitted, and what all of these may use at once.

    path          "research/vision/ada"; those above come first in the list that an engine gets
    guaranteed    what is his when he wants it: {"cpu": 8, "mem": "16g", "cuda.shares": 1}
    limit         what he gets at most; what is not named is without limit
    max_running   tasks at a time; 0: no limit
    max_waiting   tasks in the queue, of which equal ones count as one; 0: no limit
    weight        of his share beside his siblings

    GPUs count as "cuda.shares", whole ones too.
    """

    path: str
    guaranteed: Mapping[str, Amount] = dataclasses.field(default_factory=dict)
    limit: Mapping[str, Amount] = dataclasses.field(default_factory=dict)
    max_running: int = 0
    max_waiting: int = 0
    weight: float = 1.0


@dataclasses.dataclass(frozen=True)
class Policy:
    """Which task of all runs of an engine goes first, and where.

    order              "fifo", "drf" (the smallest dominant share) or "fair_share" (who has used
                       least, past use fading), after priority; or a `trackbed.Order` of one's
                       own, which alone decides
    backfill           who may overtake a task that found no room: nobody ("strict"), who does not
                       delay the first ("easy") or any ("conservative") of these, or "any"
    ageing             waiting for so many seconds is one step of priority; None: never
    default_run_time   seconds, where nothing is known
    half_life          of past use, in seconds
    placer             what chooses among several nodes: "spread", "pack", "locality-aware" (where
                       most of a task's inputs were written), …; "": "default" where there are
                       accelerators, else "spread"
    preempt_by_priority  what runs may be stopped for what waits with a higher priority; it goes on,
                       as another attempt that is no try, when there is room again
    reclaim            the same of who borrows, for a tenant below what is guaranteed to him
    minimum_run_time   seconds; nothing is stopped for others before it ran this long
    """

    order: "Union[str, Order]" = "fifo"
    backfill: str = "easy"
    ageing: Optional[Seconds] = 3600
    default_run_time: Seconds = 3600
    half_life: Seconds = 7 * 24 * 3600
    placer: str = ""
    preempt_by_priority: bool = False
    reclaim: bool = False
    minimum_run_time: Seconds = 0


class TenantStruct(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("max_running", c_uint32), ("path", Text),
        ("guaranteed", ctypes.POINTER(Slot)), ("guaranteed_count", c_size_t),
        ("limit", ctypes.POINTER(Slot)), ("limit_count", c_size_t), ("max_waiting", c_uint32),
        ("reserved", c_uint32), ("weight", c_double),
    ]  # fmt: skip


class OptionsStruct(Struct):
    _fields_ = [
        ("struct_size", c_uint32), ("order", c_int32), ("backfill", c_int32),
        ("reservation_depth", c_uint32), ("preempt_by_priority", c_int32), ("reclaim", c_int32),
        ("ageing_ns", c_int64), ("minimum_run_time_ns", c_int64), ("default_run_time_ns", c_int64),
        ("gang_grace_ns", c_int64), ("claim_time_ns", c_int64), ("kinds", c_uint32),
        ("reserved", c_uint32), ("placer", Text), ("seed", c_uint64), ("host_placer", c_void_p),
        ("resources", c_void_p), ("resource_count", c_size_t), ("half_life_ns", c_int64),
        ("host_order", c_void_p), ("enforcement", c_void_p),
    ]  # fmt: skip


def tenant_array(tenants: Sequence[Tenant], keep: List[Any]) -> Any:
    """The tenants as the library takes them; the array lives as long as `keep`."""
    array = (TenantStruct * max(1, len(tenants)))()
    for index, tenant in enumerate(tenants):
        array[index] = TenantStruct(
            path=text(tenant.path, keep), max_running=tenant.max_running,
            guaranteed=slot_array(tenant.guaranteed, keep),
            guaranteed_count=len(tenant.guaranteed), limit=slot_array(tenant.limit, keep),
            limit_count=len(tenant.limit), max_waiting=tenant.max_waiting, weight=tenant.weight,
        )  # fmt: skip
    keep.append(array)
    return array


def policy_struct(policy: Policy, keep: List[Any]) -> OptionsStruct:
    """The policy as the library takes it; it lives as long as `keep`."""
    made = OptionsStruct(
        backfill=BACKFILLS[policy.backfill],
        ageing_ns=-1 if policy.ageing is None else ns(policy.ageing),
        default_run_time_ns=ns(policy.default_run_time), half_life_ns=ns(policy.half_life),
        placer=text(policy.placer, keep),
        preempt_by_priority=int(policy.preempt_by_priority), reclaim=int(policy.reclaim),
        minimum_run_time_ns=ns(policy.minimum_run_time),
    )  # fmt: skip
    if isinstance(policy.order, str):
        made.order = ORDERS[policy.order]
    else:
        from .cluster import order_table

        table = order_table(policy.order)
        keep.append(table)
        made.host_order = ctypes.addressof(table)
    keep.append(made)
    return made


def ns(value: Seconds) -> int:
    return round(value * 1_000_000_000)
