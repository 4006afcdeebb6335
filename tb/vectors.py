"""Vector tests of the float arithmetic: what each block is given, and what it must answer.

Each operation of :data:`OPERATIONS` drives one block with one vector in each cycle and compares
all its outputs with two references that share nothing: numpy's own arithmetic, and the exact
integers of :mod:`tb.ieee754`. The Verilog runs as gates (:mod:`tb.gates`), for a bench in Python is
too slow for millions of vectors.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import log2

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from golden.base_parameters import BaseParameters
from golden.formats import FORMATS, Format
from golden.parameters import SETS, ArrayParameters
from golden.rival_parameters import RIVALS
from hdl.block import Block
from hdl.dequantiser import Dequantiser
from hdl.export import verilog
from hdl.rescale import Rescale
from hdl.rivals.float_dequantiser import FloatDequantiser
from hdl.scale import Scale
from hdl.tile import Tile
from tb import ieee754
from tb.gates import Gates
from tb.ieee754 import BINARY, datum
from tb.multiply_add import MultiplyAdd
from tb.vector_stimuli import corners, crossed, floats, integers, near, pairs

__all__ = ["LEVEL_1", "Operation", "Result", "OPERATIONS"]

#: Vectors of TestFloat 3e at level 1 for an operation on two numbers of binary16 or binary32.
LEVEL_1 = 46_464

#: Vectors that go through a copy of the block, one in each cycle.
_FOLLOW = 16

#: Spaces of operands up to this size are always taken whole.
WHOLE = 1 << 16

Vectors = dict[str, NDArray]

FP16, FP32 = FORMATS["fp16"], FORMATS["fp32"]
ONE = FP32.bias << FP32.man_bits
DTYPES = {"fp32": np.float32, "fp16": np.float16, "bf16": ml_dtypes.bfloat16,
          "e4m3": ml_dtypes.float8_e4m3fn, "e8m0": ml_dtypes.float8_e8m0fnu}

FLOAT = "ties to even; subnormals and signed zeros kept; overflow to infinity; one NaN"


@dataclass(frozen=True)
class Result:
    """What a run found.

    Attributes
    ----------
    vectors : int
    exhaustive : bool
        Whether these were all operands.
    mismatches : dict of str to int
        Outputs that differ from each reference, by its name.
    first : str
        The first vector that differs, or nothing.
    seconds : float
    """

    vectors: int
    exhaustive: bool
    mismatches: dict[str, int]
    first: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Operation:
    """An operation of a block.

    Attributes
    ----------
    name : str
        The arithmetic, ``operands -> result``.
    parameters : BaseParameters
        Set of the block.
    block : callable
        Makes the block of the set.
    stimuli : callable
        Vectors by port from a generator and a count, more than the count if there are corners.
    output : str
        Port of the result.
    latency : int
        Cycles from the first port to the result.
    delays : dict of str to int
        Cycles that a port comes later than the first.
    high : tuple of str
        Ports that are always high.
    by_numpy : callable
        Codes of the results from the vectors, by numpy.
    exactly : callable
        Code of one result from the values of the ports, by :mod:`tb.ieee754`.
    rules : str
        What the block documents of rounding, overflow and NaN.
    space : int
        How many vectors there are, if all of them can be taken.
    """

    name: str
    parameters: BaseParameters
    block: Callable[[BaseParameters], Block]
    stimuli: Callable[[np.random.Generator, int], Vectors]
    output: str
    latency: int = 0
    delays: dict[str, int] = field(default_factory=dict)
    high: tuple[str, ...] = ()
    by_numpy: Callable[[Vectors], NDArray]
    exactly: Callable[..., int]
    rules: str = FLOAT
    space: int = 0

    def whole(self, count: int) -> bool:
        """Whether a run of some vectors takes all."""
        return 0 < self.space <= max(count, WHOLE)

    def run(self, count: int, seed: int, *, changes: str = "") -> Result:
        """Run at least ``count`` vectors, or all if there are not more; corners come on top.

        Parameters
        ----------
        count : int
            Vectors, corners not counted.
        seed : int
            Seed of the random vectors.
        changes : str
            Commands of Yosys that break the block.
        """
        began   = time.perf_counter()
        vectors = self.stimuli(np.random.default_rng(seed), max(count, WHOLE * self.whole(count)))
        results = self._simulated(vectors, changes)
        with np.errstate(all="ignore"):
            wanted = {"numpy": np.asarray(self.by_numpy(vectors), dtype=np.int64)}
        wanted["ieee754"] = np.fromiter(
            map(self.exactly, *(each.tolist() for each in vectors.values())), np.int64)
        wrong = {name: codes != results for name, codes in wanted.items()}
        first = ""
        if len(places := np.flatnonzero(np.any([*wrong.values()], axis=0))):
            values = ", ".join(f"{name} {int(each[places[0]]):#x}"
                               for name, each in vectors.items())
            answers = ", ".join(f"{codes[places[0]]:#x} by {name}"
                                for name, codes in wanted.items())
            first = (f"{self.name} of {self.parameters.name}: {values} must give {answers}, "
                     f"not {results[places[0]]:#x}")
        return Result(len(results), self.whole(count),
                      {name: int(each.sum()) for name, each in wrong.items()}, first,
                      time.perf_counter() - began)

    def _simulated(self, vectors: Vectors, changes: str) -> NDArray[np.int64]:
        """Results of the hardware."""
        block = self.block(self.parameters)
        gates = Gates(verilog(block), block.module, changes=changes)
        count = len(next(iter(vectors.values())))
        return gates.run(vectors, self.delays, self.output, self.latency, _copies(count),
                         high=self.high)


def _copies(count: int) -> int:
    """How many vectors share a cycle: enough, but so that several follow each other."""
    return 64 * max(1, count // (64 * _FOLLOW))


def numbers(codes: NDArray, fmt: Format) -> NDArray:
    """Numbers of codes in numpy's type of a format."""
    return np.asarray(codes).astype(f"u{fmt.bits // 8}").view(DTYPES[fmt.name])


def codes_of(values: NDArray, fmt: Format) -> NDArray[np.int64]:
    """Codes of numbers of numpy's type; the one NaN."""
    codes = values.view(f"u{fmt.bits // 8}").astype(np.int64)
    return np.where(np.isnan(values), fmt.nan, codes)


def single(values: NDArray, exponent: int) -> NDArray[np.float32]:
    """Integers of any size, times a power of two, as float32; rounded to odd on the way.

    53 bits rounded to odd can be rounded again to 24 (S. Boldo and G. Melquiond, IEEE Transactions
    on Computers 57, 2008).
    """
    if values.dtype != object and np.abs(values).max(initial=0) < 1 << 53:
        return np.ldexp(values.astype(np.float64), exponent).astype(np.float32)
    drops = np.array([max(0, abs(int(value)).bit_length() - 53) for value in values])
    kept  = [abs(int(value)) >> int(drop) | (abs(int(value)) % (1 << int(drop)) != 0)
             for value, drop in zip(values, drops, strict=True)]
    signs = np.array([-1.0 if value < 0 else 1.0 for value in values])
    return np.ldexp(signs * np.array(kept, dtype=np.float64), drops + exponent).astype(np.float32)


class Steps:
    """Stimuli and references of a dequantiser.

    Parameters
    ----------
    parameters : ArrayParameters
        Its activations have no zero points.
    """

    def __init__(self, parameters: ArrayParameters):
        self.p = p = parameters
        assert not p.x_zero
        self.unit = int(log2(p.x_format.step) + log2(p.w_format.step))
        # A sum without zero points, as wide as the block takes it.
        bound = p.group * max(abs(p.x_format.low), p.x_format.high)
        low, high = p.weight_range
        self.exact = -bound * max(-low, high), bound * max(-low, high)
        self.sums  = -(1 << p.joined_bits - 1), (1 << p.joined_bits - 1) - 1
        self.rows  = p.group * p.x_format.low, p.group * p.x_format.high
        self.formats = [fmt for fmt in (p.scale_format, p.x_scale_format) if fmt]
        #: Binary places of the last digit that an accumulator can have.
        self.last = self.unit + sum(int(log2(fmt.step)) for fmt in self.formats)

    def operation(self, name: str, stimuli: Callable, **options) -> Operation:
        """Operation with some stimuli."""
        p = self.p
        delays = {"scale": 1, "x_scale": 1, "acc": p.dequantise_latency - 2}
        rules = FLOAT + ("; an infinite activation makes NaN" if p.float_sums else "")
        return Operation(
            name=name, parameters=p, block=Dequantiser, stimuli=stimuli, output="acc_next",
            latency=p.dequantise_latency - 1, delays=delays, by_numpy=self.by_numpy,
            exactly=self.exactly, rules=rules, **options)

    def vectors(self, total: NDArray, scales: list[NDArray], acc: NDArray,
                rng: np.random.Generator | None = None) -> Vectors:
        """Values of all ports; with a generator zero points too, which may limit the sums."""
        p, count = self.p, len(total)
        ports = {}
        if p.max_zero:
            zero, row = np.zeros((2, count), dtype=np.int64)
            if rng is not None:
                zero = rng.integers(0, p.max_zero + 1, count)
                row  = integers(rng, *self.rows, count)
                total = np.clip(total + zero * row, *self.sums)
                excess = np.abs(total - zero * row) > self.exact[1]
                total, zero = np.where(excess, 0, total), np.where(excess, 0, zero)
            ports = {"row_sum": row, "row_sum_triple": 3 * row, "zero": zero}
        if not p.x_format.is_integer:
            bad = rng.random(count) < 0.01 if rng is not None else np.zeros(count)
            ports["bad"] = bad.astype(np.int64)
        names = ["scale", "x_scale"][:len(self.formats)]
        return {"sum": total, **dict(zip(names, scales, strict=True)), "acc": acc, **ports}

    def by_numpy(self, v: Vectors) -> NDArray[np.int64]:
        """Accumulators by numpy's float32."""
        with np.errstate(all="ignore"):
            return codes_of(numbers(v["acc"], FP32) + self.products(v), FP32)

    def products(self, v: Vectors) -> NDArray[np.float32]:
        """Products of sums and scales by numpy's float32."""
        sums = v["sum"] - v["zero"] * v["row_sum"] if "zero" in v else v["sum"]
        t = single(sums, self.unit)
        if "bad" in v:
            t = np.where(v["bad"] != 0, np.float32(np.nan), t)
        s = numbers(v["scale"], self.formats[0]).astype(np.float32)
        if "x_scale" in v:
            s = s * numbers(v["x_scale"], self.formats[1]).astype(np.float32)
        return t * s

    def exactly(self, total: int, *rest: int) -> int:
        """Accumulator by exact integers."""
        fp32 = BINARY["fp32"]
        scales, (acc, *ports) = rest[:len(self.formats)], rest[len(self.formats):]
        if self.p.max_zero:
            row, _, zero, *ports = ports
            total -= zero * row
        t = ieee754.rounded(int(total < 0), abs(total), self.unit, fp32)
        if ports and ports[0]:
            t = fp32.nan
        factors = [datum(code, BINARY[fmt.name])
                   for code, fmt in zip(scales, self.formats, strict=True)]
        s = factors[0] if len(factors) == 1 else datum(ieee754.multiply(*factors, fp32), fp32)
        product = ieee754.multiply(datum(t, fp32), s, fp32)
        return ieee754.add(datum(acc, fp32), datum(product, fp32), fp32)

    # Stimuli

    def ones(self, count: int) -> list[NDArray]:
        """Scales of one."""
        return [np.full(count, fmt.bias << fmt.man_bits) for fmt in self.formats]

    def every_scale(self, _rng: np.random.Generator, _count: int) -> Vectors:
        """Each code of the first scale, times one."""
        fmt = self.formats[0]
        codes = np.arange(1 << fmt.bits)
        scales = [codes, *self.ones(len(codes))[1:]]
        return self.vectors(np.ones(len(codes), dtype=np.int64), scales, 0 * codes)

    def conversions(self, rng: np.random.Generator, count: int) -> Vectors:
        """Sums, to be rounded to binary32 and no further."""
        total = integers(rng, *self._plain_sums, count)
        return self.vectors(total, self.ones(count), np.zeros(count, dtype=np.int64))

    def multiplications(self, rng: np.random.Generator, count: int) -> Vectors:
        """Sums times scales: scales of note with sums of every size, and random ones."""
        notes = corners(self.formats[0])
        scale = np.concatenate([np.resize(notes, count // 4),
                                floats(rng, self.formats[0], count - count // 4)])
        total = integers(rng, *self._plain_sums, count)
        return self.vectors(total, [scale, *self.ones(count)[1:]], np.zeros(count, dtype=np.int64))

    def additions(self, rng: np.random.Generator, count: int) -> Vectors:
        """Any two numbers of binary32, the second as a product of 24 bits and powers of two."""
        part = count // 3
        a, b = (np.concatenate(each) for each in zip(
            crossed(corners(FP32), corners(FP32)), pairs(rng, FP32, FP32, count - part),
            strict=True))
        other = floats(rng, FP32, part)
        a, b = np.concatenate([a, near(rng, other, FP32)]), np.concatenate([b, other])
        a = np.where(a == 1 << 31, 0, a)  # no accumulator is -0
        number = [datum(code, BINARY["fp32"]) for code in b.tolist()]
        special = np.array([each.infinite or each.nan for each in number])
        total = np.where(special, 1, [each.integer for each in number])
        power = np.where(special, 0, [each.exponent for each in number])
        fmt   = self.formats[0]
        first = np.maximum(power, 1 - fmt.bias)
        scale = np.where(special, b >> FP32.bits - fmt.bits | (b % (1 << 16) != 0),
                         first + fmt.bias << fmt.man_bits | (b >> 31) << fmt.bits - 1)
        return self.vectors(total, [scale, power - first + fmt.bias << fmt.man_bits], a)

    def steps(self, rng: np.random.Generator, count: int) -> Vectors:
        """All operands at random; accumulators from sums of other products, some that cancel."""
        total  = integers(rng, *self.exact, count)
        scales = [floats(rng, fmt, count) for fmt in self.formats]
        notes  = crossed(*map(corners, self.formats)) if len(scales) > 1 else [
            corners(self.formats[0])]
        size = min(len(notes[0]), count // 4)
        chosen = rng.permutation(len(notes[0]))[:size]
        scales = [np.concatenate([each[chosen], scale[size:]])
                  for each, scale in zip(notes, scales, strict=True)]
        v = self.vectors(total, scales, np.zeros(count, dtype=np.int64), rng)
        with np.errstate(all="ignore"):
            product = self.products(v)
            order = rng.permutation(count)
            earlier = np.float32(0) + product[order]
            sums = np.where(rng.random(count) < 0.5, earlier, earlier + np.roll(earlier, 1))
            # What is left is small: some steps of the last place that there is, or of others.
            rest = rng.integers(-2, 3, count) * np.exp2(
                self.last + rng.choice([0, 1, 8, 24], count).astype(float))
            cancelling = (-product.astype(np.float64) + rest).astype(np.float32)
            acc = np.where(rng.random(count) < 0.4, cancelling, sums) + np.float32(0)
        return v | {"acc": codes_of(acc, FP32)}

    @property
    def _plain_sums(self) -> tuple[int, int]:
        """Lowest and highest sum that is allowed without a zero point."""
        return max(self.exact[0], self.sums[0]), min(self.exact[1], self.sums[1])


def scaled(parameters: ArrayParameters) -> Operation:
    """Products of two scales."""
    p = parameters
    formats = p.scale_format, p.x_scale_format
    names   = [fmt.name for fmt in formats]
    space   = 1 << sum(fmt.bits for fmt in formats)

    def stimuli(rng, count):
        if space <= max(count, WHOLE):
            return dict(zip(("scale", "x_scale"), crossed(
                *(np.arange(1 << fmt.bits) for fmt in formats)), strict=True))
        both = zip(crossed(*map(corners, formats)), pairs(rng, *formats, count), strict=True)
        return dict(zip(("scale", "x_scale"), map(np.concatenate, both), strict=True))

    def by_numpy(v):
        a, b = (numbers(v[name], fmt).astype(np.float32)
                for name, fmt in zip(("scale", "x_scale"), formats, strict=True))
        return codes_of(a * b, FP32)

    def exactly(a, b):
        return ieee754.multiply(datum(a, BINARY[names[0]]), datum(b, BINARY[names[1]]),
                                BINARY["fp32"])

    return Operation(name=f"{names[0]} * {names[1]} -> fp32", parameters=p, block=Scale,
                     stimuli=stimuli, output="product", latency=Scale.LATENCY, by_numpy=by_numpy,
                     exactly=exactly, space=space)


def rescaled(parameters: ArrayParameters, *, convert: bool = False) -> Operation:
    """Products of binary32 in an output format; with ``convert`` by one."""
    fmt = parameters.y_format

    def stimuli(rng, count):
        note = corners(FP32)
        if convert:
            middles = _middles(rng, fmt, count // 2)
            acc = np.concatenate([note, middles, floats(rng, FP32, count - len(middles))])
            return {"acc": acc, "scale": np.full(len(acc), ONE)}
        acc, scale = map(np.concatenate, zip(
            crossed(note, note), pairs(rng, FP32, FP32, count), strict=True))
        return {"acc": acc, "scale": scale}

    def by_numpy(v):
        y = numbers(v["acc"], FP32) * numbers(v["scale"], FP32)
        if fmt.is_integer:
            rounded = np.clip(np.rint(np.where(np.isnan(y), 0, y)), -128, 127)
            return rounded.astype(np.int8).view(np.uint8)
        return codes_of(y.astype(DTYPES[fmt.name]), fmt)

    def exactly(acc, scale):
        fp32 = BINARY["fp32"]
        y = datum(ieee754.multiply(datum(acc, fp32), datum(scale, fp32), fp32), fp32)
        if not fmt.is_integer:
            return _narrowed(y, fmt)
        if y.nan:
            return 0
        value = (-1) ** y.sign * 1000 if y.infinite else ieee754.nearest_integer(y)
        return min(max(value, -128), 127) % 256

    rules = "ties to even; saturates; NaN becomes 0" if fmt.is_integer else FLOAT
    name  = ("fp32" if convert else "fp32 * fp32 -> fp32") + (
        f" -> {fmt.name}" if convert or fmt != FP32 else "")
    return Operation(name=name, parameters=parameters, block=Rescale, stimuli=stimuli, output="y",
                     latency=Rescale.LATENCY, high=("enable",), by_numpy=by_numpy, exactly=exactly,
                     rules=rules)


def _narrowed(y: ieee754.Datum, fmt: Format) -> int:
    """Code of a number in another format."""
    narrow = BINARY[fmt.name]
    return ieee754.multiply(y, ieee754.integer(1), narrow)


def _middles(rng: np.random.Generator, fmt: Format, count: int) -> NDArray[np.int64]:
    """Codes of binary32 at the middle of two neighbours of a format, or one place beside it."""
    if fmt.is_integer:
        values = rng.integers(-300, 300, count) + 0.5
    else:
        low = rng.integers(0, fmt.infinity, count)
        values = rng.choice([-1, 1], count) * (fmt.decode(low) + fmt.decode(
            np.minimum(low + 1, fmt.max_finite))) / 2
    codes = values.astype(np.float32).view(np.uint32).astype(np.int64)
    return np.clip((codes & 0x7fff_ffff) + rng.integers(-1, 2, count), 0, FP32.infinity) | (
        codes & 1 << 31)


def dequantised() -> Operation:
    """Weights of fp16 from their codes: each zero point less a code, and each scale."""
    parameters = RIVALS["fp16_first"]
    space = 32 << FP16.bits  # differences of -16 to 15

    def stimuli(rng, count):
        if space <= count:
            difference, scale = crossed(np.arange(-16, 16), np.arange(1 << FP16.bits))
        else:  # each scale, with some differences
            difference = rng.integers(-16, 16, max(count, 1 << FP16.bits))
            scale = np.resize(np.arange(1 << FP16.bits), len(difference))
        low  = np.maximum(0, -difference)
        zero = rng.integers(low, np.minimum(16, 15 - difference) + 1)
        return {"code": zero + difference, "zero": zero, "scale": scale}

    def by_numpy(v):
        return codes_of((v["code"] - v["zero"]).astype(np.float16) * numbers(v["scale"], FP16),
                        FP16)

    def exactly(code, zero, scale):
        fp16 = BINARY["fp16"]
        return ieee754.multiply(ieee754.integer(code - zero), datum(scale, fp16), fp16)

    return Operation(name="(uint4 - zero) * fp16 -> fp16", parameters=parameters,
                     block=FloatDequantiser, stimuli=stimuli, output="w", by_numpy=by_numpy,
                     exactly=exactly, space=space)


def fused(name: str) -> Operation:
    """Fused multiply-adds of fp16, to an accumulator of fp16 or fp32."""
    fmt = RIVALS[name].acc_format

    def stimuli(rng, count):
        part = count // 3
        x, w = pairs(rng, FP16, FP16, count)
        with np.errstate(all="ignore"):
            products = (numbers(x, FP16).astype(np.float32)
                        * numbers(w, FP16).astype(np.float32)).astype(DTYPES[fmt.name])
        product = codes_of(products, fmt)
        if fmt == FP16:
            notes = crossed(*3 * [corners(FP16, few=True)])
            acc = floats(rng, FP16, count)
        else:
            # A sum is a multiple of the least product, as the block demands.
            notes = [*crossed(*2 * [corners(FP16)])]
            notes.append(_chained(rng, len(notes[0])))
            acc = _chained(rng, count)
        acc[:part] = near(rng, product[:part], fmt)
        if fmt == FP32:
            acc = _least(acc)
        values = zip(notes, (x, w, acc), strict=True)
        return dict(zip(("x", "w", "acc"), map(np.concatenate, values), strict=True))

    def by_numpy(v):
        x, w = (numbers(v[name], FP16).astype(np.float64) for name in ("x", "w"))
        total = _odd_sum(x * w, numbers(v["acc"], fmt).astype(np.float64))
        return codes_of(total.astype(DTYPES[fmt.name]), fmt)

    def exactly(x, w, acc):
        fp16 = BINARY["fp16"]
        return ieee754.fused(datum(x, fp16), datum(w, fp16), datum(acc, BINARY[fmt.name]),
                             BINARY[fmt.name])

    return Operation(name=f"fp16 * fp16 + {fmt.name} -> {fmt.name}", parameters=RIVALS[name],
                     block=MultiplyAdd, stimuli=stimuli, output="total", by_numpy=by_numpy,
                     exactly=exactly,
                     rules=FLOAT if fmt == FP16 else f"{FLOAT}; sums that start from 0 alone")


def _odd_sum(a: NDArray, b: NDArray) -> NDArray:
    """Sum of doubles, rounded to odd if it is not exact, so that it can be rounded again.

    The rest is that of Knuth's TwoSum.
    """
    total = a + b
    other = total - a
    rest  = (a - (total - other)) + (b - other)
    away  = np.nextafter(total, np.where(rest > 0, np.inf, -np.inf))
    even  = total.view(np.int64) & 1 == 0
    return np.where(np.isfinite(total) & (rest != 0) & even, away, total)


def _chained(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Codes of binary32 that a sum of products of fp16 can have: of every size, and specials."""
    codes = floats(rng, FP32, count, rng.integers(FP32.bias - 48, FP32.bias + 58, count))
    kind  = rng.random(count)
    return _least(np.select([kind < 0.02, kind < 0.04, kind < 0.06],
                            [np.zeros(count, dtype=np.int64), codes & 1 << 31 | FP32.infinity,
                             np.full(count, FP32.nan)], codes))


def _least(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers of binary32 cut to multiples of 2**-48; no number is -0."""
    values = numbers(codes, FP32)
    finite = np.isfinite(values)
    cut = np.ldexp(np.trunc(np.ldexp(np.where(finite, values, 0).astype(np.float64), 48)), -48)
    return codes_of(np.where(finite, cut + 0.0, values).astype(np.float32), FP32)


def tile_products() -> Operation:
    """Products of a float activation and a weight, in the fixed-point accumulator of a tile."""
    p = SETS["w4a16"].replace(name="w4a16_pe", lanes=1, tile_rows=1, tile_columns=1, group=8)
    x, w = p.x_format, p.w_format
    space = 1 << x.bits + w.bits

    def stimuli(rng, count):
        if space <= count:
            codes = crossed(np.arange(1 << x.bits), np.arange(1 << w.bits))
        else:
            size  = max(count, 1 << x.bits)
            codes = [np.resize(np.arange(1 << x.bits), size), rng.integers(0, 1 << w.bits, size)]
        return {"x_i": codes[0], "w_i": codes[1]}

    def by_numpy(v):
        activations = numbers(v["x_i"], x).astype(np.float64)
        steps = np.where(np.isfinite(activations), activations, 0) / x.step * v["w_i"]
        return steps.astype(np.int64) % (1 << p.sum_bits)

    def exactly(code, q):
        number = datum(code, BINARY[x.name])
        if number.infinite or number.nan:
            return 0
        steps = number.integer << number.exponent - BINARY[x.name].emin + 10
        return (-1) ** number.sign * steps * q % (1 << p.sum_bits)

    return Operation(name=f"{x.name} * {w.name} -> exact", parameters=p, block=Tile,
                     stimuli=stimuli, output="drain_o", latency=3, by_numpy=by_numpy,
                     exactly=exactly, high=("enable_i", "last_i", "move_i"),
                     rules="exact; infinities and NaN add nothing here",
                     space=space)


#: Set with every operand of binary32: factors that are any product of two numbers of bf16.
FULL = ArrayParameters(name="vectors", x_scale="bf16", scale="bf16", w="int8", mac="product",
                       group=4096, lanes=4, tile_rows=2, tile_columns=1)


def _operations() -> list[Operation]:
    """Operations, elementary ones first."""
    full = Steps(FULL)
    tiny = SETS["tiny"]
    converted = [tiny.replace(name=f"tiny_{y}", y=y) for y in ("fp16", "bf16", "int8")]
    arrays = [p for p in SETS.values() if not p.x_zero]
    every = [Steps(p).operation(f"{p.scale} -> fp32", Steps(p).every_scale,
                                space=1 << p.scale_format.bits)
             for p in (SETS["edge"], FULL, SETS["nvfp4"], SETS["mxfp4"])]
    return [
        *every,
        full.operation("integer -> fp32", full.conversions),
        Steps(SETS["w4a16"]).operation("sum of fp16 -> fp32", Steps(SETS["w4a16"]).conversions),
        *(rescaled(p, convert=True) for p in converted),
        *(scaled(p) for p in (FULL, SETS["mixed"], SETS["w4a16_aligned"], SETS["mxfp4"])),
        full.operation("integer -> fp32, * bf16 -> fp32", full.multiplications),
        rescaled(tiny),
        *map(rescaled, converted),
        full.operation("fp32 + fp32 -> fp32", full.additions),
        dequantised(),
        tile_products(),
        fused("fp16_fma"),
        fused("fp16_fma_fp32"),
        *(Steps(p).operation("fp32 + (sum -> fp32) * scale -> fp32", Steps(p).steps)
          for p in (FULL, *arrays)),
    ]


#: Every operation.
OPERATIONS = _operations()
