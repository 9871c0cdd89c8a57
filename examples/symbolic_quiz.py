"""The lecture's first quiz once more: its derivatives as formulas, as a textbook prints them."""

import numpy as np

import graphjit


def f(x, z):
    return np.exp(x * z) + x * z / np.log(x) + np.sin(np.log(x)) / (x * z)


formulas = graphjit.symbolic(f)(2.0, 3.0)
print(formulas)
print(f"\n{formulas.second('x', 'z')}\n\n{formulas.latex()}\n")

# The text is Python: it gives the numbers that reverse mode gives.
slopes = graphjit.grad(f, argnums=(0, 1))(2.0, 3.0)
for formula, slope in zip(formulas.gradient, slopes, strict=True):
    value = eval(formula.text, formulas.namespace)  # noqa: S307 - the library's own text
    print(f"{formula.label.text} = {value:.11f} at x = 2, z = 3")
    assert np.isclose(value, slope, rtol=1e-13, atol=0)

# What is used again has a name, so formulas grow as the program does. Fifty squarings are a power:
# written out, its derivative would have 2**50 terms.


def squared(x):
    for _ in range(50):
        x = x * x
    return x


def layers(x, count):
    for weight in range(1, count + 1):
        x = 1 / (1 + np.exp(-weight * x))
    return x


print(f"\n{graphjit.symbolic(squared)(1.0)}\n\n{graphjit.symbolic(layers)(0.5, 4)}\n")
counts = 25, 50, 100, 200
lengths = [len(str(graphjit.symbolic(layers)(0.5, count))) for count in counts]
for count, length in zip(counts, lengths, strict=True):
    print(f"{count:4} layers: {length:6} characters")
assert lengths[-1] < 10 * lengths[0]

# SymPy, which is in the extra graphjit[symbolic], finds the same derivatives.
value = formulas.value.sympy()
for symbol in value.free_symbols:
    assert (value.diff(symbol) - formulas.derivative(symbol.name).sympy()).simplify() == 0
