"""Constants in two parts, by the size of the dtype in bytes: the second is what the first lacks."""

from __future__ import annotations

# The first part of these times any exponent of two is exact, and the second is not negative.
LOG_2 = {
    8: (0.6931471805598903, 5.497923018708371e-14),
    4: (0.693145751953125, 1.4286068203094173e-06),
}
LOG10_2 = {
    8: (0.30102999566395283, 2.8363394551044964e-14),
    4: (0.301025390625, 4.605039066518657e-06),
}
LOG2_E = {
    8: (1.4426950408889634, 2.0355273740931033e-17),
    4: (1.4426950216293335, 1.925963033500011e-08),
}
LOG10_E = {
    8: (0.4342944819032518, 1.098319650216765e-17),
    4: (0.4342944920063019, -1.0103049952192578e-08),
}
PI = {
    8: (3.141592653589793, 1.2246467991473532e-16),
    4: (3.1415927410125732, -8.742277657347586e-08),
}
HALF_PI = {size: (high / 2, low / 2) for size, (high, low) in PI.items()}
