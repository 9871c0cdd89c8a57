"""cbrt and hypot.

The coefficients are from ``benchmarks/fits``.
"""

from __future__ import annotations

from graphjit.codegen.loops import Scalar
from graphjit.codegen.mathematics.describe import describes
from graphjit.codegen.mathematics.formats import format_of
from graphjit.codegen.mathematics.polynomial import halves, head
from graphjit.codegen.scalars import Scalars

# (1 - e)**(-1/3) for |e| <= 0.1025.
INVERSE = {
    8: (
        0.999999999988695, 0.3333333462908713, 0.22222225359483797, 0.17282965972219103,
        0.14401894078933342, 0.12669571086972273, 0.1129850182404765,
    ),
    4: (
        0.9999979734420776, 0.33332833647727966, 0.22374938428401947, 0.17457522451877594,
    ),
}  # fmt: skip
# (cbrt(1 + u) - 1) / u up to what a table leaves.
NEAR = {
    8: (
        0.33333333333333326, -0.11111111111111066, 0.06172839506192056, -0.04115226337508083,
        0.030178326343560335, -0.02347203143051797, 0.019001205868892614, -0.01583436548125485,
        0.0134833720137458, -0.01168359585710702, 0.010605889762146985, -0.009481839384758066,
    ),
    4: (
        0.33333322405815125, -0.11111092567443848, 0.06185785308480263, -0.04128770902752876,
    ),
}  # fmt: skip
# Roots from [2, 4), of none, from [1/2, 1) and from [1, 2), and the inverses of their cubes.
STEPS = {
    8: (
        1.3103706971044777, 1.401019665327742, 1.481248034203723, 1.5536162529769828,
        1.6509636244473558, 1.7651741676630668, 1.866255578408636, 1.9574338205844526,
        0.8254818122236779, 0.8825870838315334, 0.933127789204318, 0.9787169102922263,
        1.0400419115259776, 1.111990045284712, 1.1756673438604217, 1.2331060371652829,
        0.4444444444444145, 0.3636363636363259, 0.3076923076922841, 0.2666666666666392,
        0.22222222222220508, 0.18181818181817092, 0.15384615384615088, 0.13333333333332908,
        1.7777777777776407, 1.4545454545453673, 1.230769230769207, 1.0666666666666327,
        0.8888888888888234, 0.7272727272726208, 0.6153846153845479, 0.5333333333332713,
    ),
    4: (
        1.285658597946167, 1.3342082500457764, 1.3794715404510498, 1.4219505786895752,
        1.4620305299758911, 1.5000019073486328, 1.5361803770065308, 1.5706939697265625,
        1.6198272705078125, 1.6809998750686646, 1.7380155324935913, 1.7915408611297607,
        1.8420401811599731, 1.8898882865905762, 1.9354437589645386, 1.9789470434188843,
        0.8099136352539062, 0.8404999375343323, 0.8690077662467957, 0.8957704305648804,
        0.9210200905799866, 0.9449441432952881, 0.9677218794822693, 0.9894735217094421,
        1.020418405532837, 1.0589723587036133, 1.0948859453201294, 1.128617525100708,
        1.1604188680648804, 1.1905635595321655, 1.2192646265029907, 1.246680498123169,
        0.4705686867237091, 0.42104560136795044, 0.38094455003738403, 0.34781354665756226,
        0.3199857771396637, 0.296295166015625, 0.27585023641586304, 0.2580627202987671,
        0.23528480529785156, 0.21052174270153046, 0.1904754638671875, 0.17390811443328857,
        0.15999363362789154, 0.14814656972885132, 0.13792987167835236, 0.12903201580047607,
        1.8822784423828125, 1.6841739416122437, 1.5238037109375, 1.3912649154663086,
        1.2799490690231323, 1.1851725578308105, 1.1034389734268188, 1.0322561264038086,
        0.9411636590957642, 0.8420659899711609, 0.7618919014930725, 0.6956000924110413,
        0.6399641633033752, 0.5925735235214233, 0.551703929901123, 0.5161007642745972,
    ),
}  # fmt: skip
SHIFT = 0.068  # of the seed's exponent: it makes the largest |e| least, 0.1021
RAISE = 54  # a multiple of 3


@describes("cbrt")
def cbrt(k: Scalars, x: Scalar) -> Scalar:
    """The real cube root."""
    if k.scaling:
        same = dict.fromkeys(("zero", "infinity", "minus_infinity"), "x")
        return k.special(k.copysign(stepped_root(k, k.absolute(x)), x), x, **same)
    form, magnitude = format_of(x), k.absolute(x)
    small = k.less(magnitude, form.least * 2.0**RAISE)  # what is left of it by t**3 loses digits
    root = normal_root(k, k.select(small, k.multiply(magnitude, 2.0**RAISE), magnitude))
    root = k.multiply(root, k.select(small, form.real(2.0 ** -(RAISE // 3)), form.real(1.0)))
    usual = k.logical_and(k.greater(magnitude, 0), k.isfinite(x))
    return k.select(usual, k.copysign(root, x), x)


def stepped_root(k: Scalars, x: Scalar) -> Scalar:
    """Of a positive number, by a table: the first bits of x 8**-n choose a c close to its root."""
    form, table = format_of(x), STEPS[x.dtype.itemsize]
    count = len(table) // 2
    n = k.rint(k.multiply(k.exponent(x), 1 / 3))
    m = k.times_power(x, k.multiply(n, -3))  # from 1/2 to 4
    shift = form.digits + 2 - (count.bit_length() - 1)
    place = k.from_bits(k.right_shift(k.bits(m), form.whole(shift)))
    root, inverse = (k.lookup(part, place) for part in (table[:count], table[count:]))
    u = k.fma(m, inverse, -1)
    series = halves(k, u, k.multiply(u, u), NEAR[x.dtype.itemsize])
    return k.times_power(k.fma(root, k.multiply(u, series), root), n)


def normal_root(k: Scalars, m: Scalar) -> Scalar:
    """Of a number that is not small.

    An inverse root v of half the digits is found first; t = m v**2, shortened so that its
    square is exact, is corrected by (m - t**3) v**2 / 3, and the next term of the series.
    """
    v = inverse_root(k, m)
    square = k.multiply(v, v)
    t = head(k, k.multiply(m, square))
    rest = remainder_of_cube(k, m, t)
    share = k.fma(k.multiply(rest, k.multiply(square, v)), 1 / 9, 1 / 3)
    return k.fma(k.multiply(rest, square), share, t)


def inverse_root(k: Scalars, m: Scalar) -> Scalar:
    """m**(-1/3) of a positive normal number.

    A float's bits are about the logarithm, so a third of them is that of the cube root. Those
    that a float of a large power has room for are enough; a polynomial corrects the seed.
    """
    form = format_of(m)
    shift = form.whole(8 * m.dtype.itemsize - form.digits)
    bits = k.bitwise_or(k.right_shift(k.bits(m), shift), form.whole(form.bits(2.0**form.digits)))
    zero = (form.bias * 4 / 3 - SHIFT) * 2.0 ** (form.digits - shift.value)
    third = k.fma(k.from_bits(bits), -1 / 3, 2.0**form.digits * 4 / 3 + zero)
    seed = k.from_bits(k.left_shift(k.bits(third), shift))
    error = k.subtract(1, k.multiply(k.multiply(m, seed), k.multiply(seed, seed)))
    correction = halves(k, error, k.multiply(error, error), INVERSE[m.dtype.itemsize])
    return k.multiply(seed, correction)


def remainder_of_cube(k: Scalars, m: Scalar, t: Scalar) -> Scalar:
    """``m - t**3`` for a t of half the digits, close to the cube root of m."""
    square = k.multiply(t, t)  # exact
    if k.fused:
        return k.fma(k.negative(t), square, m)
    high = head(k, square)
    rest = k.subtract(m, k.multiply(t, high))
    return k.subtract(rest, k.multiply(t, k.subtract(square, high)))


@describes("hypot")
def hypot(k: Scalars, x: Scalar, y: Scalar) -> Scalar:
    """sqrt(x**2 + y**2) of numbers scaled so that no square overflows or vanishes."""
    form = format_of(x)
    a, b = k.absolute(x), k.absolute(y)
    swap = k.less(a, b)
    large, less = k.select(swap, b, a), k.select(swap, a, b)
    power = 2.0 ** (form.bias // 2 + form.digits)
    edge = 2.0 ** (form.bias // 2 - 2)
    high, low = k.greater(large, edge), k.less(large, 1 / edge * 2.0**form.digits)
    factor = k.select(high, 1 / power, k.select(low, power, form.real(1.0)))
    back = k.select(high, power, k.select(low, 1 / power, form.real(1.0)))
    large, less = k.multiply(large, factor), k.multiply(less, factor)
    value = k.multiply(k.sqrt(k.fma(large, large, k.multiply(less, less))), back)
    infinite = k.logical_or(k.isinf(x), k.isinf(y))
    return k.select(infinite, float("inf"), value)
