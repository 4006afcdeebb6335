"""What a parameter set becomes behind the standard ports."""

from golden.sets import Parameters

__all__ = ["unit", "unit_module"]

#: Last part of the module's name for each kind of set.
_UNITS = {"array": "gemm", "softmax": "softmax", "exact_softmax": "softmax", "values": "values"}


def unit_module(parameters: Parameters) -> str:
    """Name of the module, such as ``mixpe_<set>_gemm`` of an array."""
    return f"mixpe_{parameters.name}_{_UNITS[parameters.unit]}"


def unit(parameters: Parameters):
    """The :class:`hdl.block.Block` itself."""
    from hdl.gemm import Gemm
    from hdl.softmax.unit import SoftmaxUnit
    from hdl.values.unit import ValuesUnit

    return {"array": Gemm, "values": ValuesUnit}.get(parameters.unit, SoftmaxUnit)(parameters)
