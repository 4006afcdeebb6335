"""The block of each kind of rival."""

from golden.rival_parameters import RivalParameters
from hdl.block import Block
from hdl.rivals.float_element import FloatElement
from hdl.rivals.float_tile import FloatTile
from hdl.rivals.integer_element import IntegerElement
from hdl.rivals.integer_tile import IntegerTile

__all__ = ["rival"]


def rival(parameters: RivalParameters) -> Block:
    """Block that a set describes, module ``mixpe_<set>``."""
    return {"int8_pe": IntegerElement, "fp16_fma": FloatElement, "int8_first": IntegerTile,
            "fp16_first": FloatTile}[parameters.kind](parameters)
