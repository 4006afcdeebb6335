"""Parameter sets and registers of the unit that multiplies codes by V."""

import re

import pytest

from golden.registers import VALUES_ID, values_registers
from golden.values_parameters import VALUES_SETS, ValuesParameters

P = VALUES_SETS["attention_pv"]


def refuse(message):
    return pytest.raises(ValueError, match=f"^{re.escape(message)}$")


@pytest.mark.parametrize(("changes", "message"), [
    ({"name": "A"}, "Name must be a lower-case identifier of at most 32 characters, not 'A'"),
    ({"y": "int8"}, "Parameter y must be one of fp16, bf16, fp32, not 'int8'"),
    *(({name: value}, f"Parameter {name} must be an integer from {low} to {high}, not {value!r}")
      for name, low, high in (("width", 1, 32), ("words", 1, 4), ("bits", 2, 4),
                              ("queries", 2, 64), ("columns", 1, 16), ("products", 1, 16),
                              ("max_length", 1, 65536), ("exp_bits", 4, 15),
                              ("code_bits", 8, 16), ("sets", 1, 16))
      for value in (low - 1, high + 1, float(low))),
    ({"width": 3, "words": 1}, "Parameters width * words must be even, not 3"),
    ({"products": 3}, "Parameter products must be a power of two of at most 4, not 3"),
    ({"products": 8}, "Parameter products must be a power of two of at most 4, not 8"),
    ({"code_bits": 12}, "Parameter code_bits must be 8 or 16, not 12"),
])
def test_rules(changes, message):
    with refuse(message):
        P.replace(**changes)


@pytest.mark.parametrize("changes", [
    {"width": 1}, {"width": 32, "words": 4}, {"width": 3}, {"bits": 4, "products": 16},
    {"queries": 2}, {"queries": 64}, {"columns": 16}, {"max_length": 65536}, {"exp_bits": 4},
    {"code_bits": 16}, {"sets": 16}])
def test_ends_of_the_rules(changes):
    assert vars(P.replace(**changes)).items() >= changes.items()


def test_sets():
    assert {name: p.name for name, p in VALUES_SETS.items()} == {name: name for name in VALUES_SETS}
    assert (P.tokens, P.peak, P.lanes, P.parts) == (32, 1024, 1, 2)
    assert (P.drain_cycles, P.full_rate_length, P.beats(P.full_rate_length)) == (32, 993, 32)
    assert P.full_rate_columns(4096) == 66
    assert ValuesParameters.from_dict(P.to_dict()) == P


@pytest.mark.parametrize("p", [P, P.replace(max_length=65536), P.replace(max_length=1, exp_bits=4)])
def test_widths_hold_the_extremes(p):
    for bits, lowest in ((p.value_sum_bits, -128 * p.max_length),
                         (p.total_bits, -128 * p.max_length << p.exp_bits)):
        assert -1 << bits - 1 <= lowest < -1 << bits - 2
    assert 1 << p.sum_bits > p.max_length << p.exp_bits >= 1 << p.sum_bits - 1


@pytest.mark.parametrize("p", [
    *VALUES_SETS.values(),
    P.replace(width=32, words=4, bits=4, queries=64, columns=16, max_length=65536, sets=16)],
    ids=lambda p: f"{p.name}_{p.bits}")
def test_registers_tell_the_shape(p):
    table  = values_registers(p)
    values = {f"{each.name}.{field.name}": field.reset
              for each in table.registers for field in each.fields}
    assert values["ID.value"] == VALUES_ID == int.from_bytes(b"MXPV")
    assert {name: values[f"UNIT.{name}"] for name in ("width", "words", "bits", "queries",
                                                      "columns", "exp_bits")} == {
        name: getattr(p, name) for name in ("width", "words", "bits", "queries", "columns",
                                            "exp_bits")}
    assert (values["LENGTH.most"], values["LENGTH.sets"]) == (p.max_length, p.sets)
    names = [each.name for each in table.registers if each.name.startswith("EXPONENT_")]
    assert names == [f"EXPONENT_{chosen}_{k}" for chosen in range(p.sets) for k in range(p.levels)]
    hashes = {values_registers(each).registers[2].reset for each in (p, p.replace(name="other"))}
    assert len(hashes) == 2
