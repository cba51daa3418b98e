"""The structs of the package are those of trackbed.h, to the byte."""

import ctypes
import pathlib
import re
import shutil
import subprocess

import pytest
from trackbed import _executors, _native, _policy, cluster, engine, groups, ports, simulation, slots

HEADER = pathlib.Path(__file__).resolve().parents[2] / "capi" / "include"
STRUCTS = {
    "trackbed_string": _native.Text,
    "trackbed_bytes": _native.Bytes,
    "trackbed_diagnostic": _native.Diagnostic,
    "trackbed_slot": _native.Slot,
    "trackbed_engine_options": engine.EngineOptions,
    "trackbed_engine_tenant": _policy.TenantStruct,
    "trackbed_submit_options": engine.SubmitOptions,
    "trackbed_events_options": engine.EventsOptions,
    "trackbed_event": engine.EventStruct,
    "trackbed_attempt": ports.AttemptView,
    "trackbed_attempt_report": ports.AttemptReport,
    "trackbed_executor": ports.ExecutorTable,
    "trackbed_clock": ports.ClockTable,
    "trackbed_random": ports.RandomTable,
    "trackbed_slot_allocator_options": slots.AllocatorOptions,
    "trackbed_allocation_part": slots.PartStruct,
    "trackbed_shortfall": slots.ShortfallStruct,
    "trackbed_device_usage": slots.UsageStruct,
    "trackbed_placement": cluster.PlacementStruct,
    "trackbed_node_capacity": cluster.CapacityStruct,
    "trackbed_node_state": cluster.StateStruct,
    "trackbed_demand": cluster.DemandStruct,
    "trackbed_task": cluster.TaskStruct,
    "trackbed_quota": cluster.QuotaStruct,
    "trackbed_placer": cluster.PlacerTable,
    "trackbed_scheduler_options": _policy.OptionsStruct,
    "trackbed_enforcement": cluster.EnforcementStruct,
    "trackbed_plan_item": cluster.ItemStruct,
    "trackbed_wait_reason": cluster.ReasonStruct,
    "trackbed_what_if": cluster.WhatIfStruct,
    "trackbed_scheduler_stats": cluster.StatsStruct,
    "trackbed_tenant_usage": cluster.UsageStruct,
    "trackbed_order": cluster.OrderTable,
    "trackbed_artifact_store": ports.ArtifactStoreTable,
    "trackbed_secret_source": ports.SecretSourceTable,
    "trackbed_device_probe": ports.DeviceProbeTable,
    "trackbed_executor_choice": _executors.ChoiceStruct,
    "trackbed_principal": groups.PrincipalStruct,
    "trackbed_group_rules": groups.RulesStruct,
    "trackbed_simulation_options": simulation.SimulationOptions,
}


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_structs_are_those_of_the_header(tmp_path):
    lines = ["#include <stdio.h>", '#include "trackbed.h"', "int main(void) {"]
    expected = []
    for name, struct in STRUCTS.items():
        lines.append(f'printf("{name} %zu\\n", sizeof({name}));')
        expected.append(f"{name} {ctypes.sizeof(struct)}")
        for field in struct._fields_:
            there = field[0].rstrip("_")  # `from` is no name in Python
            lines.append(f'printf("{name}.{there} %zu\\n", offsetof({name}, {there}));')
            expected.append(f"{name}.{there} {getattr(struct, field[0]).offset}")
    (tmp_path / "layout.c").write_text("\n".join([*lines, "return 0; }"]))
    program = str(tmp_path / "layout")
    subprocess.run(
        ["cc", "-I", str(HEADER), "-o", program, str(tmp_path / "layout.c")], check=True
    )
    found = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    assert found.splitlines() == expected


LETTERS = {
    "trackbed_status": "r", "void": "v", "int": "i", "int32_t": "i", "uint32_t": "u",
    "int64_t": "q", "uint64_t": "Q", "size_t": "z", "trackbed_string": "t", "const char*": "c",
    "trackbed_scheduler*": "p",
    "trackbed_error*": "p", "trackbed_format": "i", "trackbed_graph_format": "i",
}  # fmt: skip


def signature_in(header, name):
    """A function as _native describes it: what it returns, then what it takes."""
    found = re.search(
        rf"TRACKBED_API\s+([\w\s*]+?)\s*\btrackbed_{name}\(([^;]*)\)\s*TRACKBED_NOEXCEPT", header
    )
    assert found, f"trackbed_{name} is not in the header"
    letters = LETTERS[found[1].strip()]
    taken = [" ".join(part.split()) for part in found[2].split(",")]
    while taken:
        part = taken.pop(0)
        if part.startswith("const char*") and taken and taken[0].startswith("size_t"):
            taken.pop(0)
            letters += "s"
        elif part.startswith("trackbed_error** error"):
            letters += "e"
        elif part != "void":
            letters += "p" if "*" in part else LETTERS[part.rsplit(" ", 1)[0]].replace("r", "i")
    return letters


def test_signatures_are_those_of_the_header():
    header = re.sub(r"/\*.*?\*/", "", (HEADER / "trackbed.h").read_text(), flags=re.DOTALL)
    for name, signature in _native._SIGNATURES.items():
        assert signature_in(header, name) == signature, name
