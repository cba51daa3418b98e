"""Turns the file of comma-separated numbers into arrays."""

import argparse
import os
import pathlib

import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("file")
arguments = parser.parse_args()

rows = np.loadtxt(arguments.file, delimiter=",", dtype=np.uint8)  # numpy opens .gz by itself

outputs = pathlib.Path(os.environ["TRACKBED_OUTPUTS"])
np.savez(outputs / "digits.npz", images=rows[:, :-1], labels=rows[:, -1])
print(f"{len(rows)} images of {rows.shape[1] - 1} pixels")
