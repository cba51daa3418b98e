#!/usr/bin/env python3
"""symbols.py HEADER LIBRARY: the library exports what the header declares, under a version of ours
(which one is recorded in capi/abi), and nothing else."""

import pathlib
import re
import subprocess
import sys

header, library = sys.argv[1:]
text = re.sub(r"/\*.*?\*/", "", pathlib.Path(header).read_text(), flags=re.S)
declared = set(re.findall(r"^TRACKBED_API[^;]*?\b(trackbed_\w+)\(", text, re.M))
listing = subprocess.run(
    ["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True
).stdout
exported = {
    re.sub(r"@@TRACKBED_\d+\.\d+$", "", line.split()[-1])
    for line in listing.splitlines()
    if line.split()[-2] != "A"
}
for name in sorted(declared - exported):
    print(f"declared and not exported: {name}")
for name in sorted(exported - declared):
    print(f"exported and not declared: {name}")
print(f"{len(exported)} symbols")
sys.exit(0 if declared and exported == declared and len(exported) <= 150 else 1)
