/* Rosenbrock's function and its gradient; each element looks at both neighbours, so that the loop
   carries nothing and is vectorised. */
void run(double **in, double **out) {
    const double *restrict x = in[0];
    double *restrict slope = out[1], value = 0;
    double first = x[1] - x[0] * x[0], rest = 1 - x[0];
    value = 100 * first * first + rest * rest;
    slope[0] = -400 * first * x[0] - 2 * rest;
    for (long i = 1; i < N - 1; i++) {
        double off = x[i + 1] - x[i] * x[i], before = x[i] - x[i - 1] * x[i - 1], one = 1 - x[i];
        value += 100 * off * off + one * one;
        slope[i] = 200 * before - 400 * off * x[i] - 2 * one;
    }
    slope[N - 1] = 200 * (x[N - 1] - x[N - 2] * x[N - 2]);
    out[0][0] = value;
}
