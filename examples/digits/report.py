"""Tests the chosen model, draws its confusion matrix and writes a short report."""

import os
import pathlib
import shutil

import numpy as np

import drawing
from model import predict

inputs = pathlib.Path(os.environ["TRACKBED_INPUTS"])
outputs = pathlib.Path(os.environ["TRACKBED_OUTPUTS"])

# One of two tasks was skipped and left nothing.
name, model = next(
    (name, inputs / f"use-{name}" / "model.npz")
    for name in ("linear", "mlp")
    if (inputs / f"use-{name}" / "model.npz").exists()
)
title = {"linear": "Logistic regression", "mlp": "Neural network"}[name]

data = np.load(inputs / "split" / "test.npz")
truth, predicted = data["labels"], predict(model, data["images"])
accuracy = np.mean(predicted == truth)
confusion = np.zeros((10, 10), int)
np.add.at(confusion, (truth, predicted), 1)

shutil.copy(model, outputs / "model.npz")
subtitle = f"{accuracy:.1%} of {len(truth)} test images are read right"
drawing.draw_confusion(outputs / "confusion.png", confusion, title, subtitle)

lines = [
    "# Handwritten digits",
    "",
    f"The better model is the **{title.lower()}**. It reads **{accuracy:.1%}** of {len(truth)} "
    "test images right.",
    "",
    "![Confusion matrix](confusion.png)",
    "",
    "| digit | images | read right | most often taken for |",
    "| --- | --- | --- | --- |",
]
for digit, row in enumerate(confusion):
    wrong = np.where(np.arange(10) == digit, 0, row)
    taken = f"{wrong.argmax()} ({wrong.max()}x)" if wrong.any() else "-"
    lines.append(f"| {digit} | {row.sum()} | {row[digit] / row.sum():.1%} | {taken} |")
(outputs / "report.md").write_text("\n".join(lines) + "\n")

with open(os.environ["TRACKBED_OUTPUT"], "a") as output:
    print(f"accuracy={accuracy:.4f}", file=output)
print(f"test accuracy: {accuracy:.1%} ({title.lower()})")
