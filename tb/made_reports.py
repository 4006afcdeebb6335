"""Reports like those of ``mixpe bench`` and ``mixpe synth``, with made numbers."""

__all__ = ["BENCH", "SOFTMAX", "design"]


def design(name: str, gates: float, energy: float, period: float, macs: int,
           operations: int | None = None, memory: float = 0.0) -> dict:
    """A design of the bench; gate equivalents and fJ per MAC, ns."""
    parts = {"multiply and add": 0.75 * energy, "clock pins": 0.25 * energy}
    share = macs / (operations or macs)
    return {
        "name": name, "macs": macs, "period_ns": period, "gates_per_mac": gates,
        "memory_gates_per_mac": memory, "parts_fj_per_mac": {"fixture": parts},
        "parts_fj_per_operation": {
            "fixture": {part: value * share for part, value in parts.items()}},
    }


BENCH = {"designs": [
    design("W4A8 pair_sum 4x8x32", 180, 260, 2.3, 1024),
    design("MixLLM pair_sum 4x8x32", 180, 260, 2.3, 1024),
    design("W4A16 aligned 4x8x32", 255, 360, 2.6, 1024),
    design("W3A8 shift 4x8x32", 140, 215, 1.9, 1024),
    design("INT8 pair_sum 4x8x32", 345, 430, 2.7, 1024),
    design("INT8 PE", 715, 960, 2.3, 1),
    design("FP16 FMA", 2080, 2500, 4.9, 1),
    design("to INT8 first", 595, 700, 2.7, 256),
    design("to FP16 first", 2745, 3000, 5.6, 16),
    *(design(f"foot, {name} 4x8x32", 32, 49, 2.4, 1024, 8, 21)
      for name in ("W4A8", "W4A16 aligned", "MixLLM", "INT8")),
    *(design(f"row sum, {name} 4x8x32", 1.5, 2, 2.0, 1024) for name in ("W4A8", "W4A16 aligned")),
    design("aligner, 4x8x32", 5, 5, 2.4, 1024),
    design("rescale, fp16", 60, 78, 2.4, 128, 1),
]}


def _unit(gates: float, period: float, energy: float) -> dict:
    """A softmax unit of 16 lanes."""
    return {"gates_per_lane": gates, "period_ns": period, "fj_per_element": energy,
            "elements_per_ns": 16 / period, "elements_per_ns_and_mge": 1e6 / gates / period}


SOFTMAX = {"units": [_unit(895, 2.7, 890), _unit(6380, 4.0, 7900)]}
