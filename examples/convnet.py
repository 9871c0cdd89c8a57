"""Train a small convolutional network on handwritten digits of 8 x 8 pixels."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import graphjit
from graphjit import nn


def predict(params, x):
    first, second, dense, bias = params
    x = nn.max_pool2d(np.maximum(nn.conv2d(x, first), 0), 2)
    x = nn.max_pool2d(np.maximum(nn.conv2d(x, second), 0), 2)
    return x.reshape(len(x), -1) @ dense + bias


def loss(params, x, y):
    logits = predict(params, x)
    logp = logits - np.log(np.sum(np.exp(logits), axis=1, keepdims=True))
    return -np.mean(logp[np.arange(len(y)), y])


def drawn(random, *shape):
    """Weights whose products with as many inputs keep their size (He et al. 2015)."""
    return random.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape).astype(np.float32)


images, names = load_digits(return_X_y=True)
images = (images.reshape(-1, 8, 8, 1) / 16).astype(np.float32)
x, x_test, y, y_test = train_test_split(images, names, test_size=0.25, random_state=1)
random = np.random.default_rng(0)
start = (
    drawn(random, 3, 3, 1, 16),
    drawn(random, 3, 3, 16, 32),
    drawn(random, 128, 10),
    np.zeros(10, np.float32),
)

adam = graphjit.train.adam(2e-3)
trained = graphjit.train.minimize(loss, start, (x, y), adam, batch_size=32, epochs=20)
found = graphjit.jit(predict)(trained.params, x_test).argmax(axis=1)
accuracy = np.mean(found == y_test)
assert accuracy > 0.97

print(f"compile time   {trained.compile_seconds:.1f} s")
print(f"native loop    {trained.steps / trained.seconds:>6,.0f} steps a second")
print(f"loss           {trained.epoch_losses[0]:.2f} -> {trained.epoch_losses[-1]:.4f}")
print(f"accuracy       {accuracy:.1%} of {len(y_test)} held-out digits")
