"""Applies a model.npz: layers of weights and a bias, with max(0, x) between them."""

import numpy as np


def predict(file, images):
    """The digit that the model sees in each image."""
    with np.load(file) as model:
        layers = [(model[f"weights{i}"], model[f"bias{i}"]) for i in range(len(model.files) // 2)]
    values = images
    for i, (weights, bias) in enumerate(layers):
        if i > 0:
            values = np.maximum(values, 0)
        values = values @ weights + bias
    return values.argmax(axis=1)
