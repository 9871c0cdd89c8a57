/* ADBench's Gaussian mixture: alphas[K], means[K][D], q[K][D], below[K][D(D-1)/2] row by row, x[N][D]
   -> value and the gradients of the first four. BLOCK examples at a time, one a vector lane. */
#include <math.h>
#include <string.h>

#ifndef BLOCK
#define BLOCK 40
#endif
#define L (D * (D - 1) / 2)
#define LANE for (int b = 0; b < BLOCK; b++)

typedef double Lanes[BLOCK] __attribute__((aligned(64)));

/* z = Q (x - mu), for one component; the sum of its squares. */
static void whiten(const double *mu, const double *e, const double *l, Lanes *x, Lanes *c, Lanes *z,
                   double *restrict squares) {
    LANE squares[b] = 0;
    for (int i = 0; i < D; i++) {
        Lanes s;
        LANE c[i][b] = x[i][b] - mu[i];
        LANE s[b] = e[i] * c[i][b];
        for (int j = 0; j < i; j++, l++) LANE s[b] += *l * c[j][b];
        LANE z[i][b] = s[b];
        LANE squares[b] += s[b] * s[b];
    }
}

void run(double **in, double **out) {
    const double *alpha = in[0], *mu = in[1], *q = in[2], *l = in[3], *x = in[4];
    double *dalpha = out[1], *dmu = out[2], *dq = out[3], *dl = out[4];
    double e[K * D], shift[K], value = 0, prior = 0, most = alpha[0], total = 0;
    memset(dalpha, 0, sizeof(double[K]));
    memset(dmu, 0, sizeof(double[K * D]));
    memset(dq, 0, sizeof(double[K * D]));
    memset(dl, 0, sizeof(double[K * L]));
    for (int i = 0; i < K * D; i++) e[i] = exp(q[i]);
    for (int k = 0; k < K; k++) {
        shift[k] = alpha[k];
        for (int i = 0; i < D; i++) shift[k] += q[k * D + i];
    }
    for (int n = 0; n < N; n += BLOCK) {
        static Lanes c[K][D], z[K][D], each[K];
        Lanes block[D], top, sum;
        for (int i = 0; i < D; i++) LANE block[i][b] = x[(n + b) * D + i];
        LANE top[b] = -INFINITY;
        for (int k = 0; k < K; k++) {
            whiten(mu + k * D, e + k * D, l + k * L, block, c[k], z[k], each[k]);
            LANE each[k][b] = shift[k] - 0.5 * each[k][b];
            LANE top[b] = each[k][b] > top[b] ? each[k][b] : top[b];
        }
        LANE sum[b] = 0;
        for (int k = 0; k < K; k++) {
            LANE each[k][b] = exp(each[k][b] - top[b]);
            LANE sum[b] += each[k][b];
        }
        LANE value += log(sum[b]) + top[b];
        for (int k = 0; k < K; k++) {
            Lanes w, slope[D];
            double s = 0, *g = dl + k * L;
            const double *below = l + k * L;
            LANE w[b] = each[k][b] / sum[b];
            LANE s += w[b];
            dalpha[k] += s;
            for (int i = 0; i < D; i++) {
                LANE z[k][i][b] *= -w[b];
                LANE slope[i][b] = e[k * D + i] * z[k][i][b];
            }
            for (int i = 0; i < D; i++) {
                double own = 0;
                LANE own += z[k][i][b] * c[k][i][b];
                dq[k * D + i] += own * e[k * D + i] + s;
                for (int j = 0; j < i; j++, g++, below++) {
                    double one = 0;
                    LANE one += z[k][i][b] * c[k][j][b];
                    LANE slope[j][b] += *below * z[k][i][b];
                    *g += one;
                }
            }
            for (int i = 0; i < D; i++) {
                double one = 0;
                LANE one += slope[i][b];
                dmu[k * D + i] -= one;
            }
        }
    }
    for (int k = 1; k < K; k++) most = alpha[k] > most ? alpha[k] : most;
    for (int k = 0; k < K; k++) total += exp(alpha[k] - most);
    for (int k = 0; k < K; k++) dalpha[k] -= N * exp(alpha[k] - most) / total;
    for (int i = 0; i < K * D; i++) prior += e[i] * e[i], dq[i] += e[i] * e[i];
    for (int i = 0; i < K * L; i++) prior += l[i] * l[i], dl[i] += l[i];
    out[0][0] = value - N * (log(total) + most) + 0.5 * prior + CONSTANT;
}
