"""What ``mixpe bench`` claims: ratios of measured designs, each with a target."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from golden.parameters import ArrayParameters
from scripts.designs import LAYERS, Measured

__all__ = ["Ratio", "alike", "best", "ratios", "shape"]

#: Name of the INT8 element that has what an element of a tile has.
_FRAME = "INT8 PE with shadow"

_COMPARISONS = {"<=": lambda a, b: a <= b, ">=": lambda a, b: a >= b, "<": lambda a, b: a < b}


@dataclass(frozen=True)
class Ratio:
    """A number that is held against a target.

    Parameters
    ----------
    name : str
        What is compared.
    ours, rival : str
        The two sides with their numbers; ``rival`` is empty if there is one side.
    value : float
        The number.
    comparison : str
        ``<=``, ``>=`` or ``<``: how the value must stand to the target.
    target : float
        The target.
    anchor : str
        What others have published, or another reason for the target.
    method : str
        How it is measured.

    Raises
    ------
    ValueError
        If the comparison is none of these.
    """

    name: str
    ours: str
    rival: str
    value: float
    comparison: str
    target: float
    anchor: str
    method: str

    def __post_init__(self) -> None:
        if self.comparison not in _COMPARISONS:
            raise ValueError(f"Parameter comparison must be one of {', '.join(_COMPARISONS)}, "
                             f"not {self.comparison!r}")

    @property
    def met(self) -> bool:
        """Whether the target is met."""
        return _COMPARISONS[self.comparison](self.value, self.target)

    def to_dict(self) -> dict:
        """All fields, and whether it is met."""
        return asdict(self) | {"met": self.met}


def best(measured: Iterable[Measured], format_name: str) -> Measured:
    """Smallest tile of a format whose frequency is not below that of the INT8 tile of its shape.

    If there is none, the smallest of those whose shape an INT8 tile has.
    """
    found = list(measured)
    tiles = [each for each in found if each.design.family.startswith(f"{format_name} ")]
    shapes = {shape(each.design.parameters) for each in found
              if each.design.family == "INT8 tile"}
    compared = [each for each in tiles if shape(each.design.parameters) in shapes]
    fast = [each for each in compared if each.period <= alike(found, each, "INT8 tile").period]
    return min(fast or compared or tiles, key=lambda each: each.area)


def ratios(area_driven: list[Measured], delay_driven: list[Measured]) -> list[Ratio]:
    """All ratios of designs mapped for area, and the ordering of those mapped for delay.

    Those of a rival that is not among the designs are left out.
    """
    found = {each.design.name: each for each in area_driven}
    w4a8 = best(area_driven, "W4A8")
    int8 = alike(area_driven, w4a8, "INT8 tile")
    pe = found["INT8 PE"]
    result = [
        _areas("area, W4A8 tile / INT8 PE", w4a8, pe, "<=", 0.20,
               "MixPE (arXiv 2411.16158): area times power of its PE 1 / 2.29 of INT8's"),
        *([_areas("area, W4A8 tile / INT8 PE in the same frame", w4a8, found[_FRAME], "<=", 0.20,
                  "the same; the PE has a shadow that drains while it goes on, as ours has")]
          if _FRAME in found else []),
        *(_energies(f"energy, W4A8 tile / INT8 PE, {kind}", w4a8, pe, kind) for kind in LAYERS),
        *(_energies(f"energy, W4A8 / INT8 tile, {kind}", w4a8, int8, kind, target=1.0,
                    comparison="<", anchor="the tile of the same shape with INT8 multipliers")
          for kind in LAYERS[-1:]),
        Ratio("frequency, W4A8 / INT8 tile", f"{w4a8.design.name}, {w4a8.period:.2f} ns",
              f"{int8.design.name}, {int8.period:.2f} ns", int8.period / w4a8.period, ">=", 1.0,
              "the same throughput per lane", "longest path, mapped for area"),
    ]
    dequantiser = found["dequantiser, G = 128"]
    result.append(Ratio(
        "GE per MAC, dequantiser at G = 128", f"{dequantiser.area:.1f}", "", dequantiser.area,
        "<=", 25.0, "a float32 multiply-add of 4,000 GE for each sum would be 31; RedMulE with "
        "dequantisers before its MACs has 940 GE for each lane",
        "one dequantiser over the 128 MACs of the sum that it takes in each cycle; the "
        "accumulators' memory is left out"))
    result.append(_speed(w4a8, dequantiser, min(
        (each for each in area_driven if each.design.family in ("INT8 PE", "INT8 tile")),
        key=lambda each: each.area * each.period)))
    for name, ours in (("to INT8 first", w4a8), ("to FP16 first", None)):
        if name in found:
            ours = ours or _smallest(area_driven, "W4A16 aligned")
            pair = f"{ours.design.name.rpartition(' ')[0]} / dequantised {name}"
            anchor = ("what dequantising after the group replaces; its dequantisers are counted, "
                      "ours are not")
            result += [_areas(f"area, {pair}", ours, found[name], "<", 1.0, anchor),
                       _energies(f"energy, {pair}, {LAYERS[-1]}", ours, found[name], LAYERS[-1],
                                 target=1.0, comparison="<", anchor=anchor)]
    if "FP16 FMA" in found:
        aligned = _smallest(area_driven, "W4A16 aligned")
        result.append(_areas(
            "area, aligned W4A16 tile / FP16 FMA", aligned, found["FP16 FMA"], "<=", 0.10,
            "AxCore (MICRO 2025): 6.7 times as dense as FP16; RedMulE's FMA 4,016 GE in SkyWater "
            "130 nm"))
        result.append(_energies(f"energy, aligned W4A16 tile / FP16 FMA, {LAYERS[-1]}", aligned,
                                found["FP16 FMA"], LAYERS[-1], target=1.0, comparison="<",
                                anchor="the order of the elements"))
    for flow, measured in (("area", area_driven), ("delay", delay_driven)):
        result += _order(flow, measured, w4a8.design.name)
    return result


def shape(parameters: ArrayParameters) -> tuple[int, int, int]:
    """Rows, columns and lanes of a tile."""
    return parameters.tile_rows, parameters.tile_columns, parameters.lanes


def alike(measured: Iterable[Measured], other: Measured, family: str) -> Measured:
    """Smallest tile of a family with the shape of another."""
    return min((each for each in measured
                if each.design.family == family
                and shape(each.design.parameters) == shape(other.design.parameters)),
               key=lambda each: each.area)


def _smallest(measured: Iterable[Measured], family: str) -> Measured:
    return min((each for each in measured if each.design.family == family),
               key=lambda each: each.area)


def _areas(name, ours, rival, comparison, target, anchor, flow="area"):
    """Ratio of gate equivalents per MAC."""
    return Ratio(name, f"{ours.design.name}, {ours.area:.1f} GE",
                 f"{rival.design.name}, {rival.area:.1f} GE", ours.area / rival.area, comparison,
                 target, anchor,
                 f"gate equivalents per MAC, mapped for {flow}: operand edge, accumulators and "
                 "shadows included")


def _energies(name, ours, rival, kind, *, target=0.33, comparison="<=",
              anchor="MixPE (arXiv 2411.16158): 1 / 1.4"):
    """Ratio of energies per MAC on one kind of operands, at the longer period of the two."""
    period = max(ours.period, rival.period)
    energies = [each.energy(kind, period) for each in (ours, rival)]
    return Ratio(name, f"{ours.design.name}, {energies[0]:.0f} fJ",
                 f"{rival.design.name}, {energies[1]:.0f} fJ", energies[0] / energies[1],
                 comparison, target, anchor,
                 f"energy per MAC of the netlists on {kind} operands, both at {period:.2f} ns")


def _speed(ours, dequantiser, rival):
    """Ratio of MACs in a second and an area, dequantisers counted with ours alone."""
    area = ours.area + dequantiser.area
    value = rival.area * rival.period / (area * ours.period)
    return Ratio("speed at equal area, W4A8 / INT8",
                 f"{ours.design.name} and dequantiser, {area:.1f} GE at {ours.period:.2f} ns",
                 f"{rival.design.name}, {rival.area:.1f} GE at {rival.period:.2f} ns", value, ">=",
                 4.0, "MixPE (arXiv 2411.16158): 2.6 times",
                 "MACs in a second over gate equivalents, each at its own period, all MACs busy, "
                 "against the INT8 PE or tile for which this is most; "
                 "dequantisers counted with ours alone, memories with neither")


def _order(flow, measured, w4a8):
    """Ratios that must be below 1, of designs mapped for area or for delay."""
    found = {each.design.name: each for each in measured}
    if w4a8 not in found:
        return []
    ours = found[w4a8]
    shift, int8 = (alike(measured, ours, family) for family in ("W3A8 shift", "INT8 tile"))
    product = alike(measured, ours, "W4A8 product")
    result = []
    if flow == "delay":
        result.append(Ratio("frequency for delay, W4A8 / INT8 tile",
                            f"{ours.design.name}, {ours.period:.2f} ns",
                            f"{int8.design.name}, {int8.period:.2f} ns",
                            int8.period / ours.period, ">=", 1.0,
                            "the same throughput per lane", "longest path, cells sized"))
    pairs = [("DenseShift / W4A8 tile", shift, ours), ("W4A8 / INT8 tile", ours, int8),
             ("W4A8 tile / the same with multipliers", ours, product),
             ("W4A8 tile / INT8 PE", ours, found["INT8 PE"])]
    if "FP16 FMA" in found:
        aligned = alike(measured, ours, "W4A16 aligned")
        pairs += [("W4A8 / aligned W4A16 tile", ours, aligned),
                  ("aligned W4A16 tile / FP16 FMA", aligned, found["FP16 FMA"])]
    return [*result, *(_areas(f"order for {flow}, {name}", a, b, "<", 1.0,
                              "the order of the elements", flow) for name, a, b in pairs)]
