"""Multinomial logistic regression by gradient descent with momentum."""

import argparse
import os
import pathlib

import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("--alpha", type=float, required=True, help="weight decay")
parser.add_argument("--steps", type=int, default=500)
arguments = parser.parse_args()

inputs = pathlib.Path(os.environ["TRACKBED_INPUTS"])
data = np.load(inputs / "split" / "train.npz")
images, targets = data["images"], np.eye(10)[data["labels"]]

weights, bias = np.zeros((64, 10)), np.zeros(10)
velocity = np.zeros_like(weights), np.zeros_like(bias)
for step in range(1, arguments.steps + 1):
    scores = images @ weights + bias
    scores -= scores.max(axis=1, keepdims=True)
    logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    error = (np.exp(logs) - targets) / len(images)
    for value, speed, slope in (
        (weights, velocity[0], images.T @ error + arguments.alpha * weights),
        (bias, velocity[1], error.sum(axis=0)),
    ):
        speed *= 0.9
        speed -= 0.3 * slope
        value += speed
    if step % 100 == 0:
        print(f"step {step}: loss {-(targets * logs).sum() / len(images):.4f}")

outputs = pathlib.Path(os.environ["TRACKBED_OUTPUTS"])
np.savez(outputs / "model.npz", weights0=weights, bias0=bias)
