"""What a parameter set becomes behind the standard ports."""

from golden.parameters import ArrayParameters
from golden.sets import Parameters

__all__ = ["unit_module"]


def unit_module(parameters: Parameters) -> str:
    """Name of the module, ``mixpe_<set>_gemm`` of an array and ``mixpe_<set>_softmax`` else."""
    kind = "gemm" if isinstance(parameters, ArrayParameters) else "softmax"
    return f"mixpe_{parameters.name}_{kind}"
