/* Logistic regression on N rows of D: w, b, x, labels -> loss, dw, db. A block of rows stays in L1
   between the scores and the gradient; exp and log1p run along the block. */
#include <math.h>

#ifndef BLOCK
#define BLOCK 40
#endif

static double block(const double *w, double b, const double **row, const double *label, int n,
                    double scale, double *restrict dw, double *db) {
    double slope[BLOCK], loss = 0, sum = 0;
    for (int i = 0; i < n; i++) {
        double s = b;
        for (int j = 0; j < D; j++) s += row[i][j] * w[j];
        slope[i] = -label[i] * s;
    }
    for (int i = 0; i < n; i++) {
        double m = slope[i], small = exp(-fabs(m)), over = 1 / (1 + small);
        loss += fmax(m, 0) + log1p(small);
        slope[i] = -label[i] * scale * (m >= 0 ? over : small * over);
        sum += slope[i];
    }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < D; j++) dw[j] += slope[i] * row[i][j];
    *db += sum;
    return loss * scale;
}

#ifndef BATCH
void run(double **in, double **out) {
    const double *w = in[0], *x = in[2], *label = in[3], *row[BLOCK];
    double loss = 0, dw[D] = {0}, db = 0;
    for (int i = 0; i < N; i += BLOCK) {
        int n = N - i < BLOCK ? N - i : BLOCK;
        for (int r = 0; r < n; r++) row[r] = x + (long)(i + r) * D;
        loss += block(w, in[1][0], row, label + i, n, 1.0 / N, dw, &db);
    }
    out[0][0] = loss;
    for (int j = 0; j < D; j++) out[1][j] = dw[j];
    out[2][0] = db;
}
#else
/* The same for an epoch of batches in the given order; an update after each. */
void run(double **in, double **out) {
    const double *x = in[2], *labels = in[3], *row[BLOCK];
    const long *order = (const long *)in[4];
    double w[D], b = in[1][0], label[BLOCK], loss = 0;
    for (int j = 0; j < D; j++) w[j] = in[0][j];
    for (long i = 0; i < N; i += BATCH) {
        int n = N - i < BATCH ? N - i : BATCH;
        double dw[D] = {0}, db = 0;
        for (int r = 0; r < n; r++) {
            row[r] = x + order[i + r] * D;
            label[r] = labels[order[i + r]];
        }
        loss = block(w, b, row, label, n, 1.0 / n, dw, &db);
        for (int j = 0; j < D; j++) w[j] -= RATE * dw[j];
        b -= RATE * db;
    }
    out[0][0] = loss;
    for (int j = 0; j < D; j++) out[1][j] = w[j];
    out[2][0] = b;
}
#endif
