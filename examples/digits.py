"""Train a network on handwritten digits: `python digits.py [folder for the pictures]`."""

import sys
from itertools import pairwise
from pathlib import Path

import digits_by_hand
import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import graphjit

LAYERS, RATE, RUN = (64, 64, 32, 10), 1.0, {"batch_size": 32, "epochs": 60}


def predict(params, x):
    for w, b in params[:-1]:
        x = 1 / (1 + np.exp(-(x @ w + b)))
    return x @ params[-1][0] + params[-1][1]


def loss(params, x, y):
    logits = predict(params, x)
    logp = logits - np.log(np.sum(np.exp(logits), axis=1, keepdims=True))
    return -np.mean(logp[np.arange(len(y)), y])


images, names = load_digits(return_X_y=True)
x, x_test, y, y_test = train_test_split(images / 16, names, test_size=0.25, random_state=1)
normal = np.random.default_rng(0).normal
start = [(normal(0, 2 / np.sqrt(n), (n, m)), np.zeros(m)) for n, m in pairwise(LAYERS)]

sgd = graphjit.train.sgd(RATE)
trained = graphjit.train.minimize(loss, start, (x, y), sgd, **RUN, progress=True)
by_hand, seconds = digits_by_hand.train(start, x, y, RATE, **RUN)
accuracy = np.mean(predict(trained.params, x_test).argmax(axis=1) == y_test)
gap = digits_by_hand.gap(trained.params, by_hand)
assert accuracy >= 0.96
assert gap < 1e-9

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output")
folder.mkdir(parents=True, exist_ok=True)
figure = Figure(layout="constrained")
axes = figure.subplots()
axes.semilogy(np.arange(trained.steps) / trained.steps_per_epoch, trained.losses, lw=0.3)
axes.semilogy(np.arange(len(trained.epoch_losses)) + 0.5, trained.epoch_losses)
axes.set(title="64-64-32-10 sigmoid network on digits", xlabel="epoch", ylabel="cross-entropy")
axes.legend(["each batch", "mean of each epoch"])
figure.savefig(folder / "digits-loss.png", dpi=150)
graph = graphjit.value_and_grad(loss).graph(start, x[:32], y[:32])
graphjit.draw.save(graph, folder / "digits-graph.svg")

print(f"compile time   {trained.compile_seconds:.1f} s")
print(f"native loop    {trained.steps / trained.seconds:>6,.0f} steps a second")
print(f"NumPy by hand  {trained.steps / seconds:>6,.0f} steps a second; same result, to {gap:.0e}")
print(f"accuracy       {accuracy:.1%} of {len(y_test)} held-out digits")
print(f"pictures       {folder}/digits-loss.png, {folder}/digits-graph.svg")
