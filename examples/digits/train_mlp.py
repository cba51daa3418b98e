"""A neural network with one hidden layer, trained with Adam on small batches."""

import argparse
import os
import pathlib

import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("--alpha", type=float, required=True, help="weight decay")
parser.add_argument("--hidden", type=int, required=True, help="units of the hidden layer")
parser.add_argument("--epochs", type=int, required=True)
parser.add_argument("--seed", type=int, required=True)
parser.add_argument("--batch", type=int, default=32)
parser.add_argument("--rate", type=float, default=0.003)
arguments = parser.parse_args()

inputs = pathlib.Path(os.environ["TRACKBED_INPUTS"])
data = np.load(inputs / "split" / "train.npz")
images, targets = data["images"], np.eye(10)[data["labels"]]

random = np.random.default_rng(arguments.seed)
hidden = arguments.hidden
parameters = [
    random.normal(0, np.sqrt(2 / 64), (64, hidden)),
    np.zeros(hidden),
    random.normal(0, np.sqrt(2 / hidden), (hidden, 10)),
    np.zeros(10),
]
mean = [np.zeros_like(p) for p in parameters]  # of the slopes, for Adam
square = [np.zeros_like(p) for p in parameters]
step = 0

for epoch in range(1, arguments.epochs + 1):
    loss = 0.0
    order = random.permutation(len(images))
    for batch in np.split(order, range(arguments.batch, len(order), arguments.batch)):
        x, t = images[batch], targets[batch]
        w0, b0, w1, b1 = parameters
        active = np.maximum(x @ w0 + b0, 0)
        scores = active @ w1 + b1
        scores -= scores.max(axis=1, keepdims=True)
        logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        loss -= (t * logs).sum()

        error = (np.exp(logs) - t) / len(batch)
        back = (error @ w1.T) * (active > 0)
        slopes = [
            x.T @ back + arguments.alpha * w0,
            back.sum(axis=0),
            active.T @ error + arguments.alpha * w1,
            error.sum(axis=0),
        ]
        step += 1
        for i, slope in enumerate(slopes):
            mean[i] += 0.1 * (slope - mean[i])
            square[i] += 0.001 * (slope**2 - square[i])
            size = np.sqrt(square[i] / (1 - 0.999**step)) + 1e-8
            parameters[i] -= arguments.rate * mean[i] / (1 - 0.9**step) / size
    if epoch % 10 == 0:
        print(f"epoch {epoch}: loss {loss / len(images):.4f}")

outputs = pathlib.Path(os.environ["TRACKBED_OUTPUTS"])
np.savez(outputs / "model.npz", **dict(zip(("weights0", "bias0", "weights1", "bias1"), parameters)))
