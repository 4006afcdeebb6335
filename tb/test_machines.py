"""Machines of equal area: what fits, how long layers take, what each constant changes."""

from math import ceil

import pytest

from golden.cycles import GemmShape, commands_cycles
from golden.workloads import ATTENTION, INSIDE, MODELS, PHASES, Gemm, layer
from scripts.machines import CONSTANTS, DESIGNS, KINDS, RESCALE, machines
from tb.made_reports import BENCH, SOFTMAX

LLAMA, VIT = MODELS["Llama-3.1-8B"], MODELS["ViT-Base"]
PREFILL, DECODE = PHASES[2], PHASES[3]


def built(**changes):
    return {machine.kind.name: machine for machine in machines(BENCH, SOFTMAX, changes)}


MACHINES = built()
ANY = pytest.mark.parametrize("name", [kind.name for kind in KINDS])


def test_reports_have_all_designs():
    assert {each["name"] for each in BENCH["designs"]} == set(DESIGNS)


@ANY
def test_machine_fills_its_area(name):
    machine = MACHINES[name]
    budget = 1e6 * CONSTANTS["area"].value * (1 - CONSTANTS["softmax_share"].value)
    assert 0.8 * budget < machine.gates <= budget
    by_design = {each["name"]: (each["gates_per_mac"] + each["memory_gates_per_mac"])
                 * each["macs"] for each in BENCH["designs"]}
    kind, array = machine.kind, machine.array
    tiles = array.peak / machine.tile["macs"]
    wanted = tiles * (by_design[kind.tile] + (by_design[kind.foot] if kind.foot else 0))
    wanted += array.y_lanes * by_design[RESCALE]
    wanted += by_design[kind.aligner] if kind.aligner else 0
    wanted += by_design[kind.row_sum] * array.rows / array.tile_rows if kind.row_sum else 0
    assert machine.gates == pytest.approx(wanted)


@ANY
def test_time_is_that_of_cycles_or_bytes(name):
    """Of a GEMM that fits, and of one that decodes."""
    machine = MACHINES[name]
    array, kind = machine.array, machine.kind
    for m in (1, 64):
        gemm = Gemm("", m, 1024, 4096)
        wide = round(4096 * kind.wide)
        shape = GemmShape(m=m, k=1024, n=4096, wide=wide)
        cycles = commands_cycles(array, [shape]).total
        tiles = ceil(m / array.rows) * (ceil(wide / (array.columns // 2))
                                        + ceil((4096 - wide) / array.columns))
        cycles += tiles * array.rows * kind.drains
        size = (1024 * 4096 * kind.w_bits + m * 1024 * kind.x_bits + m * 4096 * 16) / 8
        cost = machine.gemm(gemm)
        assert cost.compute == pytest.approx(cycles * machine.period)
        assert cost.bytes == pytest.approx(size, rel=0.002)  # shares of features are whole
        assert cost.memory == pytest.approx(cost.bytes / 64)
        assert cost.time == pytest.approx(max(cost.compute, cost.memory) + 100)
        assert cost.bound == ("memory" if cost.memory > cost.compute else "compute")
        assert cost.macs == m * 1024 * 4096


def test_weights_come_again_for_rows_that_do_not_fit():
    machine = MACHINES["INT8"]
    rows = machine.array.rows
    all_, half = (share * 1024 * 1024 // 4096 // rows * rows for share in (2, 1))
    one, two = (machine.gemm(Gemm("", m, 4096, 4096)) for m in (all_, all_ + 1))
    again = -(-(all_ + 1) // half) - 1
    assert again == 2
    assert two.bytes - one.bytes == pytest.approx(again * 4096 * 4096 + 4096 + 2 * 4096)


@ANY
def test_no_machine_waits_for_outputs(name):
    """From the shortest K of the models' linear layers on, or but a little."""
    machine = MACHINES[name]
    array = machine.array
    sent = array.rows * array.columns / array.y_lanes
    assert sent <= 1.6 * (768 / array.lanes + array.rows * machine.kind.drains)
    assert min(array.x_depth, array.w_depth) * array.lanes >= 20480


@pytest.mark.parametrize("name", ["MixPE W4A8", "MixLLM W4.4A8", "INT8"])
def test_products_that_follow_each_other_are_extrapolated(name):
    """Of twelve commands as the queue takes them."""
    machine = MACHINES[name]
    wide = 256 if machine.kind.wide else 0
    shape = GemmShape(m=70, k=128, n=256, wide=wide)
    cycles = commands_cycles(machine.array, [shape] * 12).total
    if machine.kind.drains:
        cycles += 12 * ceil(70 / machine.array.rows) * ceil(256 / machine.array.columns
                                                            ) * machine.array.rows
    cost = machine.gemm(Gemm("", 70, 128, 256, 12, ATTENTION))
    assert cost.compute / machine.period == pytest.approx(cycles, rel=0.01)


def test_energy_of_each_part():
    """Of a GEMM that fills the array once."""
    machine = MACHINES["MixPE W4A8"]
    array = machine.array
    m, k, n = array.rows, 1024, array.columns
    found = machine.gemm(Gemm("", m, k, n)).energy
    bits = m * k * 8 + k * n * (4 + 20 / 128) + 16 * m * n
    assert found["memory"] == pytest.approx(3.92 * bits)
    assert found["buffers"] == pytest.approx(
        20 / 64 * (bits + k * (8 * m + (4 + 20 / 128) * n)))
    assert found["rescale"] == pytest.approx(1e-3 * m * n * 78 * 128)
    # Products, and the sums of rows beside each row of tiles.
    assert found["multiply and add"] == pytest.approx(
        1e-3 * m * k * n * 260 + 1e-3 * k / 32 * m / 4 * 2 * 1024)
    cost = machine.softmax_cost(10, 100)
    assert cost.energy == {"softmax": pytest.approx(1e-3 * 1000 * 890)}


def test_many_small_products_follow_each_other():
    """No start and end is paid for each of them."""
    machine = MACHINES["MixPE W4A8"]
    one, many = (machine.gemm(Gemm("", 64, 128, 2048, count, ATTENTION)) for count in (1, 32))
    assert 16 * one.compute < many.compute < 32 * one.compute
    assert many.macs == 32 * one.macs
    assert many.bytes == 32 * one.bytes


def test_scores_stay_inside():
    machine = MACHINES["INT8"]
    memory, inside = (machine.gemm(Gemm("", 64, 128, 64, **options))
                      for options in ({}, {"y_to": INSIDE, "x_from": INSIDE}))
    assert memory.bytes - inside.bytes == 64 * 128 + 2 * 64 * 64


@ANY
def test_layer_is_the_sum_of_its_parts(name):
    machine = MACHINES[name]
    for phase in (PREFILL, DECODE):
        parts = machine.layer(LLAMA, phase)
        gemms, rows = layer(LLAMA, phase)
        linear = [machine.gemm(each) for each in gemms if each.kind != ATTENTION]
        assert parts["linear"].time == pytest.approx(sum(each.time for each in linear))
        assert parts["linear"].total_energy == pytest.approx(
            sum(each.total_energy for each in linear))
        assert ("whole" in parts) == machine.kind.attends
        if machine.kind.attends:
            softmax = parts["softmax"]
            assert softmax.time == pytest.approx(
                rows.rows * rows.length / machine.softmax_lanes * machine.softmax.period)
            assert parts["whole"].time == pytest.approx(
                parts["linear"].time + max(parts["attention"].time, softmax.time))
            assert parts["whole"].macs == sum(each.macs for each in gemms)


def test_powers_of_two_hold_no_keys():
    with pytest.raises(ValueError, match="DenseShift W3A8 must not be asked for attention"):
        MACHINES["DenseShift W3A8"].gemm(Gemm("", 1, 128, 64, 1, ATTENTION))


def test_rows_that_are_filled_up_draw_the_clock_alone():
    machine = MACHINES["INT8"]
    rows = machine.array.rows
    full, one = (machine.gemm(Gemm("", m, 1024, machine.array.columns)).energy["multiply and add"]
                 for m in (rows, 1))
    parts = machine.tile["parts_fj_per_mac"]["fixture"]
    share = parts["clock pins"] / sum(parts.values())
    assert one / full == pytest.approx(1 / rows + (1 - 1 / rows) * share)


def test_each_group_is_dequantised_once():
    machine = MACHINES["MixPE W4A8"]
    array = machine.array
    cost = machine.gemm(Gemm("", array.rows, 1024, array.columns))
    foot = machine.designs[machine.kind.foot]["parts_fj_per_operation"]["fixture"]
    sums = array.rows * array.columns * 1024 / 128
    assert cost.energy["dequantise"] == pytest.approx(1e-3 * sums * sum(foot.values()))
    assert MACHINES["INT8"].gemm(Gemm("", 1, 1024, 64)).energy["dequantise"] == 0


#: What each constant must change, and whether a greater one makes it greater.
EFFECTS = {
    "area": (lambda machine: machine.array.peak, True),
    "softmax_share": (lambda machine: machine.softmax_lanes, True),
    "bandwidth": (lambda machine: machine.layer(LLAMA, DECODE)["linear"].time, False),
    "latency": (lambda machine: machine.gemm(Gemm("", 1, 128, 8)).time, True),
    "buffer": (lambda machine: machine.layer(LLAMA, PREFILL)["linear"].bytes, False),
    "dram": (lambda machine: machine.layer(VIT, DECODE)["linear"].energy["memory"], True),
    "sram": (lambda machine: machine.layer(VIT, DECODE)["linear"].energy["buffers"], True),
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_each_constant_changes_what_comes_out(name):
    value, grows = EFFECTS[name]
    for kind in ("MixPE W4A8", "INT8, pair sums"):
        before = value(MACHINES[kind])
        after = value(built(**{name: 2 * CONSTANTS[name].value})[kind])
        assert after > 1.05 * before if grows else after < 0.95 * before
    assert all(each.source and each.unit for each in CONSTANTS.values())


@pytest.mark.parametrize(("changes", "message"), [
    ({"voltage": 1.0}, "Constant must be one of area, .*, not 'voltage'"),
    ({"dram": -1.0}, "Constant dram must be a positive number, not -1"),
    ({"dram": float("nan")}, "Constant dram must be a positive number, not nan"),
])
def test_bad_constants_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        built(**changes)


@pytest.mark.parametrize(("changes", "message"), [
    ({"area": 0.01}, "area must hold a machine MixPE W4A8, .* not be 0.01 MGE and 2048 KiB"),
    ({"buffer": 4.0}, "buffer its operands of length 20480, not be 4 MGE and 4 KiB"),
])
def test_machines_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        built(**changes)["MixPE W4A8"].layer(LLAMA, PREFILL)
