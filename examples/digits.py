"""Train a network on handwritten digits, the main job of `make demo`; pictures go to argv[1]."""

import sys
import time
from pathlib import Path

import digits_by_hand
import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import graphjit

LAYERS, RATE, BATCH, EPOCHS = (64, 64, 32, 10), 1.0, 32, 60


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
normal, shapes = np.random.default_rng(0).normal, zip(LAYERS, LAYERS[1:], strict=False)
start = [(normal(0, 2 / np.sqrt(n), (n, m)), np.zeros(m)) for n, m in shapes]

kind, cut = graphjit.train.sgd(RATE), {"batch_size": BATCH, "epochs": EPOCHS}
trained = graphjit.train.minimize(loss, start, (x, y), kind, **cut, progress=True)
clock = time.perf_counter()
by_hand = digits_by_hand.train(start, x, y, RATE, **cut)
seconds = time.perf_counter() - clock
gap = max(np.abs(a - b).max() for p, q in zip(trained.params, by_hand, strict=True) for a, b in zip(p, q, strict=True))
accuracy = np.mean(predict(trained.params, x_test).argmax(axis=1) == y_test)
print(f"compiled in {trained.compile_seconds:.1f} s, once; the picture")

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output")
folder.mkdir(parents=True, exist_ok=True)
figure = Figure(layout="constrained")
axes = figure.subplots()
axes.semilogy(np.arange(trained.steps) / trained.steps_per_epoch, trained.losses, lw=0.4)
axes.semilogy(np.arange(EPOCHS) + 0.5, trained.epoch_losses)
axes.set(xlabel="epoch", ylabel="cross-entropy")
axes.legend(["batch", "mean of the epoch"])
figure.savefig(folder / "digits-loss.png", dpi=150)
graph = graphjit.value_and_grad(loss).graph(start, x[:BATCH], y[:BATCH])
graphjit.draw.save(graph, folder / "digits-graph.svg")
