"""A neural network with two hidden layers, trained by PyTorch on the GPU that the task has."""

import argparse
import os
import pathlib
import sys

import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("--hidden", type=int, required=True, help="units of each hidden layer")
parser.add_argument("--epochs", type=int, required=True)
parser.add_argument("--seed", type=int, required=True)
parser.add_argument("--batch", type=int, default=128)
parser.add_argument("--device", default="cuda", help="cpu: for trying it out")
arguments = parser.parse_args()

try:
    import torch
    from torch import nn
except ImportError as error:
    sys.exit(f"train_gpu.py: {sys.executable} has no PyTorch ({error}); see https://pytorch.org")
if arguments.device == "cuda" and not torch.cuda.is_available():
    shown = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    sys.exit(
        f"train_gpu.py: PyTorch {torch.__version__} finds no GPU (CUDA_VISIBLE_DEVICES={shown}): "
        "is there one, is its driver new enough, is PyTorch one with CUDA?"
    )

device = torch.device(arguments.device)
name = torch.cuda.get_device_name(device) if device.type == "cuda" else "the processor"
print(f"training on {name}")

inputs = pathlib.Path(os.environ["TRACKBED_INPUTS"])
data = np.load(inputs / "split" / "train.npz")
images = torch.tensor(data["images"], dtype=torch.float32, device=device)
labels = torch.tensor(data["labels"], device=device)

torch.manual_seed(arguments.seed)
hidden = arguments.hidden
network = nn.Sequential(
    nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 10)
).to(device)
optimizer = torch.optim.AdamW(network.parameters(), lr=0.001)

for epoch in range(1, arguments.epochs + 1):
    loss_of_all = torch.zeros((), device=device)
    for batch in torch.randperm(len(images), device=device).split(arguments.batch):
        loss = nn.functional.cross_entropy(network(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss_of_all += loss.detach() * len(batch)
    if epoch % 20 == 0:
        print(f"epoch {epoch}: loss {loss_of_all.item() / len(images):.5f}")

# As model.py reads it, which needs no PyTorch.
layers = [layer for layer in network if isinstance(layer, nn.Linear)]
model = {f"weights{i}": layer.weight.detach().cpu().numpy().T for i, layer in enumerate(layers)}
model |= {f"bias{i}": layer.bias.detach().cpu().numpy() for i, layer in enumerate(layers)}
np.savez(pathlib.Path(os.environ["TRACKBED_OUTPUTS"]) / "model.npz", **model)
with open(os.environ["TRACKBED_OUTPUT"], "a") as output:
    print(f"device={name}", file=output)
