/* A net of two hidden layers of H sigmoids on a batch of N rows of D, squared error, STEPS steps of
   gradient descent: w1, b1, w2, b2, w3, b3, x, y -> loss before the last update, the parameters. */
#include <math.h>
#include <string.h>

#define EACH(i, n) for (int i = 0; i < (n); i++)

static void layer(int from, int to, const T *restrict x, const T *restrict w, const T *restrict b,
                  T *restrict h) {
    EACH(i, N) {
        T row[to];
        EACH(j, to) row[j] = b[j];
        EACH(k, from) EACH(j, to) row[j] += x[i * from + k] * w[k * to + j];
        EACH(j, to) h[i * to + j] = row[j];
    }
    EACH(i, N * to) h[i] = 1 / (1 + EXP(-h[i]));
}

/* w -= RATE xT d, b -= RATE sum d */
static void update(int from, int to, const T *restrict x, const T *restrict d, T *restrict w,
                   T *restrict b) {
    EACH(k, from) {
        T row[to];
        EACH(j, to) row[j] = 0;
        EACH(i, N) EACH(j, to) row[j] += x[i * from + k] * d[i * to + j];
        EACH(j, to) w[k * to + j] -= (T)RATE * row[j];
    }
    EACH(i, N) EACH(j, to) b[j] -= (T)RATE * d[i * to + j];
}

static T step(T *w1, T *b1, T *w2, T *b2, T *w3, T *b3, const T *x, const T *y) {
    T h1[N * H], h2[N * H], out[N], d1[N * H], d2[N * H], d3[N], turned[H * H], loss = 0;
    layer(D, H, x, w1, b1, h1);
    layer(H, H, h1, w2, b2, h2);
    EACH(i, N) {
        T s = b3[0];
        EACH(j, H) s += h2[i * H + j] * w3[j];
        out[i] = s;
    }
    EACH(i, N) {
        T p = 1 / (1 + EXP(-out[i])), off = p - y[i];
        loss += off * off;
        d3[i] = (T)2 / N * off * p * (1 - p);
    }
    EACH(i, N) EACH(j, H) d2[i * H + j] = d3[i] * w3[j] * h2[i * H + j] * (1 - h2[i * H + j]);
    EACH(i, H) EACH(j, H) turned[j * H + i] = w2[i * H + j];
    EACH(i, N) {
        T row[H] = {0};
        EACH(k, H) EACH(j, H) row[j] += d2[i * H + k] * turned[k * H + j];
        EACH(j, H) d1[i * H + j] = row[j] * h1[i * H + j] * (1 - h1[i * H + j]);
    }
    update(D, H, x, d1, w1, b1);
    update(H, H, h1, d2, w2, b2);
    EACH(j, H) {
        T s = 0;
        EACH(i, N) s += h2[i * H + j] * d3[i];
        w3[j] -= (T)RATE * s;
    }
    EACH(i, N) b3[0] -= (T)RATE * d3[i];
    return loss / N;
}

void run(T **in, T **out) {
    static const int size[] = {D * H, H, H * H, H, H, 1};
    EACH(i, 6) memcpy(out[i + 1], in[i], size[i] * sizeof(T));
    for (long i = 0; i < STEPS; i++)
        out[0][0] = step(out[1], out[2], out[3], out[4], out[5], out[6], in[6], in[7]);
}
