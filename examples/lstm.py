"""Language model: a stacked LSTM with one weight an element, over time by a native loop.

(Objective of the ADBench suite, Šrajer et al. 2018.)
"""

import numpy as np

import graphjit


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def cell(w, b, h, s, x):
    """One layer at one time: its new output and its new state."""
    forget, enter = sigmoid(x * w[0] + b[0]), sigmoid(h * w[1] + b[1])
    s = s * forget + enter * np.tanh(h * w[3] + b[3])
    return sigmoid(x * w[2] + b[2]) * np.tanh(s), s


def loss(params, state, sequence):
    """The mean of -log p(next character | all before)."""

    def step(state, x):
        h, s = state
        value, hs, ss = x * params["in"], [], []
        for layer, (w, b) in enumerate(zip(params["w"], params["b"], strict=True)):
            value, new = cell(w, b, h[layer], s[layer], value)
            hs.append(value)
            ss.append(new)
        guess = value * params["out"] + params["bias"]
        return (np.stack(hs), np.stack(ss)), guess - np.log(np.sum(np.exp(guess)))

    _, logp = graphjit.scan(step, state, sequence[:-1])
    return -np.sum(sequence[1:] * logp) / (len(sequence) - 1)


rng = np.random.default_rng(0)
layers, letters, length = 2, 5, 20
params = {
    "in": rng.normal(size=letters), "out": rng.normal(size=letters), "bias": np.zeros(letters),
    "w": rng.normal(size=(layers, 4, letters)), "b": rng.normal(size=(layers, 4, letters)),
}  # fmt: skip
state = (np.zeros((layers, letters)), np.zeros((layers, letters)))
sequence = np.eye(letters)[np.arange(length) // 4]  # aaaabbbbcccc...

slopes = graphjit.value_and_grad(loss)
losses = []
for _ in range(300):
    value, gradient = slopes(params, state, sequence)
    params = {name: p - gradient[name] for name, p in params.items()}
    losses.append(value)
print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}")
assert losses[-1] < 0.8 * losses[0]
