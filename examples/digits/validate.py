"""Fails when the data are not what the later steps expect."""

import os
import pathlib
import sys

import numpy as np

inputs = pathlib.Path(os.environ["TRACKBED_INPUTS"])
data = np.load(inputs / "ingest" / "digits.npz")
images, labels = data["images"], data["labels"]

problems = []
if images.shape[1:] != (64,):
    problems.append(f"images have the shape {images.shape[1:]}, not (64,)")
if images.max() > 16:
    problems.append(f"a pixel is {images.max()}, above 16")
if set(labels) != set(range(10)):
    problems.append(f"labels are {sorted(set(labels))}, not 0 to 9")
counts = np.bincount(labels, minlength=10)
if counts.min() < 0.5 * counts.max():
    problems.append(f"the classes are uneven: {counts.tolist()}")
if problems:
    sys.exit("\n".join(problems))

with open(os.environ["TRACKBED_OUTPUT"], "a") as output:
    print(f"samples={len(images)}", file=output)
print(f"{len(images)} images are in order, {counts.min()} to {counts.max()} of each digit")
