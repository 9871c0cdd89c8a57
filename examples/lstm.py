"""Language model by a stacked LSTM with one weight an element, certified in five ways.

(Objective of the ADBench suite, Šrajer et al. 2018.)
"""

import numpy as np

import graphjit


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def cell(w, b, h, s, x):
    """One layer at one time: its new output and its new state."""
    forget, enter, leave = sigmoid(x * w[0] + b[0]), sigmoid(h * w[1] + b[1]), sigmoid(x * w[2] + b[2])
    s = s * forget + enter * np.tanh(h * w[3] + b[3])
    return leave * np.tanh(s), s


def loss(params, state, sequence):
    """The mean of -log p(next character | all before)."""

    def step(state, x):
        h, s = state
        value, hs, ss = x * params["in"], [], []
        for layer in range(len(params["w"])):
            value, new = cell(params["w"][layer], params["b"][layer], h[layer], s[layer], value)
            hs.append(value)
            ss.append(new)
        guess = value * params["out"] + params["bias"]
        return (np.stack(hs), np.stack(ss)), guess - np.log(np.sum(np.exp(guess)))

    _, logp = graphjit.scan(step, state, sequence[:-1])
    return -np.sum(sequence[1:] * logp) / (len(sequence) - 1)


rng = np.random.default_rng(0)
layers, letters, length = 2, 5, 12
params = {
    "in": rng.normal(size=letters), "out": rng.normal(size=letters), "bias": np.zeros(letters),
    "w": rng.normal(size=(layers, 4, letters)), "b": rng.normal(size=(layers, 4, letters)),
}  # fmt: skip
state = (np.zeros((layers, letters)), np.zeros((layers, letters)))
sequence = np.eye(letters)[np.arange(length) % letters]  # abcdeabcde...

certificate = graphjit.certify(loss, (params, state, sequence), argnums=(0, 1), entries=3)
print(certificate)
certificate.check()

trained = graphjit.train.minimize(
    loss, params, (state, sequence), graphjit.train.adam(0.03), steps=300
)
print(f"loss {trained.losses[0]:.3f} -> {trained.losses[-1]:.3f}")
assert trained.losses[-1] < 0.5 * trained.losses[0]
