"""Float arithmetic of the hardware against numpy and against IEEE 754 in exact integers."""

import json
from fractions import Fraction

import numpy as np
import pytest

from golden.formats import FORMATS
from golden.parameters import SETS
from scripts import vectors
from tb import ieee754
from tb.gates import Gates
from tb.ieee754 import BINARY, datum
from tb.marks import first_by_default
from tb.vector_stimuli import corners, floats, integers, pairs
from tb.vectors import LEVEL_1, OPERATIONS, Operation, single

#: Operations of the default tests: of each block one, and what no supported set has.
QUICK = {("fp16 -> fp32", "edge"), ("fp32 -> bf16", "tiny_bf16"),
         ("bf16 * bf16 -> fp32", "vectors"), ("fp32 * fp32 -> fp32 -> fp16", "tiny_fp16"),
         ("fp32 + fp32 -> fp32", "vectors"), ("(uint4 - zero) * fp16 -> fp16", "fp16_first"),
         ("fp16 * uint4 -> exact", "w4a16_pe"), ("fp16 * fp16 + fp16 -> fp16", "fp16_fma"),
         ("fp32 + (sum -> fp32) * scale -> fp32", "edge")}

MILLION = 1_000_000


def named(name: str, parameters: str) -> Operation:
    """Operation of a set."""
    (found,) = [each for each in OPERATIONS
                if (each.name, each.parameters.name) == (name, parameters)]
    return found


def check(operation: Operation, count: int) -> None:
    """Run and compare; there are as many vectors as asked for, or all."""
    result = operation.run(count, seed=count)
    assert result.first == ""
    assert result.mismatches == {"numpy": 0, "ieee754": 0}
    assert result.vectors >= (operation.space if result.exhaustive else count)


@pytest.mark.parametrize("operation", [
    pytest.param(each, id=f"{each.name}, {each.parameters.name}",
                 marks=[pytest.mark.full] * ((each.name, each.parameters.name) not in QUICK))
    for each in OPERATIONS])
def test_operation(operation):
    check(operation, LEVEL_1)


@pytest.mark.full
@pytest.mark.parametrize("operation", OPERATIONS,
                         ids=lambda each: f"{each.name}, {each.parameters.name}")
def test_a_million(operation):
    check(operation, MILLION)


def test_quick_operations_exist():
    assert {(each.name, each.parameters.name) for each in OPERATIONS} >= QUICK
    assert len(OPERATIONS) == len({(each.name, each.parameters.name) for each in OPERATIONS})


def test_every_set_has_its_dequantiser_tested():
    steps = {each.parameters.name for each in OPERATIONS if each.name.startswith("fp32 + (sum")}
    assert steps >= {name for name, p in SETS.items() if not p.x_zero}


#: Gates of which each is inverted, and the operation that must find it.
BROKEN = ["fp32 * fp32 -> fp32, tiny", "fp16 * fp16 + fp16 -> fp16, fp16_fma"]


@pytest.mark.parametrize("which", first_by_default(BROKEN))
@pytest.mark.parametrize("seed", [1, 2])
def test_a_broken_gate_is_found(which, seed):
    """One cell's output is inverted in one bit of the block."""
    operation = named(*which.split(", "))
    changes = (f"proc\nopt_clean\nmutate -list 1 -seed {seed} -mode inv -o broken.ys\n"
               "script broken.ys")
    result = operation.run(4000, 1, changes=changes)
    assert "must give" in result.first
    assert min(result.mismatches.values()) > 0


# The references


@pytest.mark.parametrize("name", BINARY)
def test_numbers_are_those_of_the_formats(name):
    fmt, rng = FORMATS[name], np.random.default_rng(1)
    codes = np.concatenate([corners(fmt), floats(rng, fmt, 2000)])
    values = fmt.decode(codes)
    for code, value in zip(codes.tolist(), values.tolist(), strict=True):
        number = datum(code, BINARY[name])
        assert number.nan == np.isnan(value)
        assert number.infinite == np.isinf(value)
        if np.isfinite(value):
            exact = number.integer * Fraction(2) ** number.exponent
            assert (-1) ** number.sign * exact == Fraction(value)
            assert number.sign == np.signbit(value)


@pytest.mark.parametrize(("integer", "exponent", "code"), [
    (0, 500, 0x0000), (1, -25, 0x0000), (3, -26, 0x0001), (1, -24, 0x0001), (3, -25, 0x0002),
    (0x7ff, -25, 0x0400), (2049, 0, 0x6800), (2051, 0, 0x6802), (65519, 0, 0x7bff),
    (65520, 0, 0x7c00), (1, 200, 0x7c00)])
def test_rounding_of_binary16(integer, exponent, code):
    """Ties to even at the ends of the range, from clause 4.3.1 by hand."""
    assert ieee754.rounded(0, integer, exponent, BINARY["fp16"]) == code
    assert ieee754.rounded(1, integer, exponent, BINARY["fp16"]) == code | 0x8000


@pytest.mark.parametrize(("operation", "operands", "code"), [
    (ieee754.add, (0x8000, 0x8000), 0x8000), (ieee754.add, (0x8000, 0x0000), 0x0000),
    (ieee754.add, (0x3c00, 0xbc00), 0x0000), (ieee754.add, (0x7c00, 0xfc00), 0x7e00),
    (ieee754.add, (0xfc00, 0x7bff), 0xfc00), (ieee754.multiply, (0x8000, 0x7c00), 0x7e00),
    (ieee754.multiply, (0x8001, 0x3800), 0x8000), (ieee754.multiply, (0xfc00, 0x8001), 0x7c00),
    (ieee754.multiply, (0x7d00, 0x0000), 0x7e00), (ieee754.fused, (0x3c01, 0x3c01, 0xbc02), 0x0010),
    (ieee754.fused, (0x0000, 0x7c00, 0x7c00), 0x7e00),
    (ieee754.fused, (0x7c00, 0x3c00, 0xfc00), 0x7e00)])
def test_special_operands(operation, operands, code):
    """Clauses 6.1 to 6.3 and 7.2, by hand."""
    half = BINARY["fp16"]
    assert operation(*(datum(each, half) for each in operands), half) == code


@pytest.mark.parametrize(("value", "nearest"), [
    (0x3800, 0), (0x3e00, 2), (0xbe00, -2), (0x4100, 2), (0x6400, 1024), (0x3801, 1)])
def test_nearest_integers(value, nearest):
    assert ieee754.nearest_integer(datum(value, BINARY["fp16"])) == nearest


def test_large_integers_are_rounded_once():
    values = [sign * ((1 << 24 | 1) << shift) + delta
              for sign in (1, -1) for shift in (40, 200) for delta in (-1, 0, 1)]
    results = single(np.array(values, dtype=object), -210)
    wanted = [ieee754.rounded(int(value < 0), abs(value), -210, BINARY["fp32"]) for value in values]
    np.testing.assert_array_equal(results.view(np.uint32), wanted)


# The stimuli


def test_every_difference_and_sum_of_exponents():
    fmt, rng = FORMATS["fp16"], np.random.default_rng(1)
    a, b = (codes >> fmt.man_bits & 31 for codes in pairs(rng, fmt, fmt, 2000))
    assert {*(a - b)} == {*range(-31, 32)}
    assert {*(a + b)} == {*range(63)}


def test_corners_are_of_every_kind():
    codes = corners(FORMATS["fp32"])
    values = codes.astype(np.uint32).view(np.float32)
    tiny = np.finfo(np.float32).tiny
    for kind in (values == 0, np.isnan(values), np.isinf(values), values == np.float32(1),
                 (values > 0) & (values < tiny), values == tiny, values == np.finfo(np.float32).max,
                 values == np.nextafter(np.float32(1), np.float32(2))):
        assert kind.any()
    assert {*(codes >> 31)} == {0, 1}
    assert len({*codes}) == len(codes)


def test_integers_reach_both_ends():
    values = integers(np.random.default_rng(1), -100, 99, 2000)
    assert {-100, 99, 0, 64, -65} <= {*values.tolist()}
    assert values.min() == -100
    assert values.max() == 99


# Gates


COUNTER = """
module top(clk, rst, a, b, y);
  input clk;
  input rst;
  input [39:0] a;
  input [3:0] b;
  output [39:0] y;
  reg [39:0] kept;
  always @(posedge clk) if (rst) kept <= 0; else if (b[0]) kept <= a * b;
  assign y = kept + a;
endmodule
"""


def test_gates_with_registers():
    """A product is kept for a cycle, in each of the copies by itself."""
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 1 << 40, 1000), rng.integers(0, 16, 1000)
    results = Gates(COUNTER, "top").run({"a": a, "b": b | 1}, {"b": 0}, "y", 0, 64)
    before = np.concatenate([np.zeros(64, dtype=np.int64), a[:-64] * (b[:-64] | 1)])
    np.testing.assert_array_equal(results, (before + a) % (1 << 40))
    held = Gates(COUNTER, "top").run({"a": a, "b": b * 0}, {}, "y", 0, 128)
    np.testing.assert_array_equal(held, a)


# The command


def test_command_writes_a_report(tmp_path, monkeypatch):
    chosen = [named("e8m0 -> fp32", "mxfp4")]
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- vectors: begin -->\n<!-- vectors: end -->\nb\n")
    report = vectors.main(100, 3, 1, page, tmp_path, chosen)
    assert json.loads((tmp_path / "vectors.json").read_text()) == report
    (entry,) = report["operations"]
    assert (entry["set"], entry["vectors"], entry["exhaustive"]) == ("mxfp4", 256, True)
    assert (entry["mismatches"], entry["references"]) == (0, ["numpy", "ieee754"])
    assert len(entry["verilog_sha256"]) == 64
    assert "| `e8m0 -> fp32` | `mixpe_mxfp4_dequantiser` | 256, all | 0 |" in page.read_text()
