"""Splits the data into parts to train (60 %), compare (20 %) and test (20 %) the models."""

import argparse
import os
import pathlib

import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, required=True)
arguments = parser.parse_args()

inputs = pathlib.Path(os.environ["TRACKBED_INPUTS"])
data = np.load(inputs / "ingest" / "digits.npz")
images, labels = data["images"] / 16.0, data["labels"].astype(int)

# Every part gets its share of each digit.
random = np.random.default_rng(arguments.seed)
parts = {"train": [], "compare": [], "test": []}
for digit in range(10):
    indices = random.permutation(np.flatnonzero(labels == digit))
    ends = (len(indices) * 6 // 10, len(indices) * 8 // 10)
    for part, chunk in zip(parts.values(), np.split(indices, ends)):
        part.extend(chunk)

outputs = pathlib.Path(os.environ["TRACKBED_OUTPUTS"])
for name, indices in parts.items():
    np.savez(outputs / f"{name}.npz", images=images[indices], labels=labels[indices])
    print(f"{name}: {len(indices)} images")
