"""A training step as a program in C: exported, compiled with gcc, and run to the same numbers."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

import graphjit
from graphjit import train

STEPS = 400
MAIN = """
#include <stdio.h>
#include "step.h"

static double x[STEP_X_SIZE], y[STEP_Y_SIZE], work[STEP_WORK_BYTES / 8 + 1];
static double w[2][STEP_PARAMS_SIZE], velocity[2][STEP_PARAMS_SIZE], loss;

int main(void) {
    int now = 0;
    if (!fread(x, sizeof x, 1, stdin) || !fread(y, sizeof y, 1, stdin)) return 1;
    for (int i = 0; i < %d; i++, now = !now)  /* the two sets change places */
        if (step_on(w[now], velocity[now], x, y, &loss, w[!now], velocity[!now], work)) return 2;
    printf("%%.17g", loss);
    for (int i = 0; i < STEP_PARAMS_SIZE; i++) printf(" %%.17g", w[now][i]);
}
"""


def loss(params, x, y):
    return np.mean(np.logaddexp(0, -y * (x @ params)))


rng = np.random.default_rng(0)
x = rng.normal(size=(200, 4))
y = np.sign(x @ [1.0, -2.0, 0.5, 0.0] + rng.normal(size=200))
optimizer = train.sgd(0.1, momentum=0.9)
params = np.zeros(4)
state = optimizer.init(params)
step = graphjit.jit(train.train_step(loss, optimizer))

with tempfile.TemporaryDirectory() as folder:
    print(graphjit.export(step, (params, state, x, y), "step", folder).signature)
    for _ in range(STEPS):
        last, params, state = step(params, state, x, y)
    print(f"in Python: loss {last:.12f} after {STEPS} steps, parameters {params.round(3)}")
    if shutil.which("gcc"):
        Path(folder, "main.c").write_text(MAIN % STEPS)
        command = ["gcc", "main.c", "step.o", "-lm", "-o", "main"]
        subprocess.run(command, cwd=folder, check=True)  # noqa: S603 - our own program
        data, program = x.tobytes() + y.tobytes(), Path(folder, "main")
        printed = subprocess.run(program, input=data, stdout=subprocess.PIPE, check=True)  # noqa: S603
        last_c, *params_c = map(float, printed.stdout.split())
        print(f"in C:      loss {last_c:.12f}, parameters {np.round(params_c, 3)}")
        assert np.allclose([last_c, *params_c], [last, *params], rtol=1e-11, atol=0)
