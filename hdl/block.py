"""Blocks: components that are exported as one Verilog module each, however often they are used."""

from amaranth import *
from amaranth.back import rtlil
from amaranth.lib import wiring

from golden.base_parameters import BaseParameters

__all__ = ["Block", "Use"]


class Block(wiring.Component):
    """Component with a module of its own in the exported Verilog.

    Parameters
    ----------
    parameters : BaseParameters
        Set that the block belongs to; its name is part of the module's.
    name : str
        The block's own part of the module name.
    members : dict
        Signature; ports only, no nested interfaces but streams.
    uses : tuple of Block
        Blocks that are instantiated by :class:`Use` in this one. A block that learns them only
        while it is elaborated overrides the property.
    """

    def __init__(self, parameters: BaseParameters, name: str, members: dict,
                 *, uses: "tuple[Block, ...]" = ()):
        self.parameters = parameters
        self.module = f"mixpe_{parameters.name}_{name}" if name else f"mixpe_{parameters.name}"
        self._uses = uses
        self._rtlil = None
        super().__init__(members)

    @property
    def uses(self) -> "tuple[Block, ...]":
        """Blocks that this one instantiates, known once it is elaborated."""
        return self._uses

    @property
    def rtlil(self) -> str:
        """RTLIL text of the block alone; elaborated once."""
        if self._rtlil is None:
            self._rtlil = rtlil.convert(self, name=self.module, emit_src=False)
        return self._rtlil

    def closure(self) -> "dict[str, Block]":
        """The block and all that it uses, by module name, the deepest first."""
        blocks = {}
        assert self.rtlil  # elaboration may find further uses
        for block in self.uses:
            blocks |= block.closure()
        return blocks | {self.module: self}


class Use(wiring.Component):
    """Instance of a block's module; an interface like the block's own.

    Amaranth would write a module for each instance. This writes a reference, so that the block is
    elaborated, exported, synthesised and reported once.

    Parameters
    ----------
    block : Block
        Block to instantiate; must be among the ``uses`` of the block that contains this.
    """

    def __init__(self, block: Block):
        self._block = block
        super().__init__(dict(block.signature.members.items()))

    def elaborate(self, platform):
        ports = {}
        for path, member, value in self.signature.flatten(self):
            direction = "i" if member.flow == wiring.In else "o"
            ports[f"{direction}_{'__'.join(map(str, path))}"] = Value.cast(value)
        # Clock and reset are ports of the module only if a register needs them.
        for name, signal in (("clk", ClockSignal()), ("rst", ResetSignal())):
            if f" \\{name}\n" in self._block.rtlil:
                ports[f"i_{name}"] = signal
        return Instance(self._block.module, **ports)
