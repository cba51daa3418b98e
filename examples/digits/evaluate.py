"""Hands on the accuracy of each model as an output; arguments are NAME=TASK."""

import os
import pathlib
import sys

import numpy as np

from model import predict

inputs = pathlib.Path(os.environ["TRACKBED_INPUTS"])
data = np.load(inputs / "split" / "compare.npz")

with open(os.environ["TRACKBED_OUTPUT"], "a") as output:
    for argument in sys.argv[1:]:
        name, task = argument.split("=")
        predicted = predict(inputs / task / "model.npz", data["images"])
        accuracy = np.mean(predicted == data["labels"])
        print(f"{name}={accuracy:.4f}", file=output)
        print(f"{name}: {accuracy:.1%} of {len(predicted)} images")
