#!/usr/bin/env python3
"""promised.py HEADER TEST: the test of memory that is out calls each function that trackbed.h promises
to survive it."""

import pathlib
import re
import sys

header, test = (pathlib.Path(name).read_text() for name in sys.argv[1:])
text = re.sub(r"/\*.*?\*/", "", header, flags=re.S)
declared = set(re.findall(r"^TRACKBED_API[^;]*?\b(trackbed_\w+)\(", text, re.M))
# As the header has it, under "Memory".
promised = {
    name
    for name in declared
    if name.startswith(("trackbed_error_", "trackbed_slot_allocator_"))
    or name in ("trackbed_slot_parse", "trackbed_slot_format")
} - {"trackbed_slot_allocator_snapshot", "trackbed_slot_allocator_restore"}
called = set(re.findall(r"\b(trackbed_\w+)\(", test))
for name in sorted(promised - called):
    print(f"promised and not tried: {name}")
print(f"{len(promised)} of {len(declared)} functions promise it")
sys.exit(0 if promised and promised <= called else 1)
