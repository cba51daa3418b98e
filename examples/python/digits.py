"""Which weight decay reads handwritten digits best? Tries a list of them, keeps the best model and
reports how good it is on data that nothing was decided by.

    python3 examples/python/digits.py                              # all of it
    python3 -m trackbed run examples/python/digits.py --help       # its parameters
    python3 -m trackbed run examples/python/digits.py --epochs 80

It is written as one would in a notebook: each block between `# %%` marks is a cell.
"""

# %%
from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import Annotated, Dict, List, NamedTuple

import numpy as np

from trackbed import Range, pipeline, task, unmapped, when


# %% Data: 8x8 images with values from 0 to 16, and the digit that each shows.
class Digits(NamedTuple):
    images: np.ndarray
    labels: np.ndarray


class Split(NamedTuple):
    train: Digits
    validate: Digits
    test: Digits


DATA = Path(__file__).resolve().parents[1] / "digits/data/digits.csv.gz"


@task
def load(path: Path) -> Digits:
    with gzip.open(path, "rt") as file:
        rows = np.array([[float(value) for value in row] for row in csv.reader(file)])
    return Digits(rows[:, :64] / 16, rows[:, 64].astype(int))


@task
def split(digits: Digits, seed: int) -> Split:
    order = np.random.default_rng(seed).permutation(len(digits.labels))
    ends = [int(0.6 * len(order)), int(0.8 * len(order))]
    return Split(*(Digits(digits.images[p], digits.labels[p]) for p in np.split(order, ends)))


# %% The model: softmax regression, by gradient descent.
class Model(NamedTuple):
    alpha: float
    weights: np.ndarray
    accuracy: float  # on the data it was chosen by


def accuracy(weights: np.ndarray, data: Digits) -> float:
    return float(((data.images @ weights).argmax(axis=1) == data.labels).mean())


@task
def train(alpha: float, data: Split, epochs: int) -> Model:
    images, labels = data.train
    wanted = np.eye(10)[labels]
    weights = np.zeros((images.shape[1], 10))
    for _ in range(epochs):
        scores = images @ weights
        chances = np.exp(scores - scores.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        weights -= 2.0 * (images.T @ (chances - wanted) / len(labels) + alpha * weights)
    found = Model(alpha, weights, accuracy(weights, data.validate))
    print(f"alpha {alpha}: {found.accuracy:.3f}")
    return found


# %% What comes of it.
@task
def best(models: List[Model]) -> Model:
    return max(models, key=lambda model: model.accuracy)


@task
def report(model: Model, tried: List[Model], data: Split) -> Path:
    lines = ["| alpha | accuracy |", "| --- | --- |"]
    lines += [f"| {m.alpha} | {m.accuracy:.3f} |" for m in tried]
    lines.append(f"\nOn the rest, alpha {model.alpha} reads {accuracy(model.weights, data.test):.1%}.")
    path = Path("report.md")
    path.write_text("\n".join(lines) + "\n")
    return path


@task
def publish(model: Model) -> Path:
    np.save("model.npy", model.weights)
    return Path("model.npy")


@pipeline
def digits(
    epochs: Annotated[int, "Passes over the data", Range(minimum=1)] = 100,
    seed: int = 0,
    good_enough: Annotated[float, "Publish the model only above this accuracy"] = 0.9,
) -> Dict[str, Path]:
    """Finds the weight decay with which a linear model reads digits best."""
    data = split(load(DATA), seed)
    models = train.map([0.0, 1e-4, 1e-3, 1e-2, 1e-1], unmapped(data), epochs, concurrency=2)
    winner = best(models)
    with when(winner.accuracy > good_enough):
        model = publish(winner)
    return {"report": report(winner, models, data), "model": model}


# %% Run it; results of earlier runs are used where nothing has changed.
if __name__ == "__main__":
    found = digits()
    print(found["report"].read_text())
