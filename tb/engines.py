"""Parameter sets of small engines, with the least buffers that make sense."""

from golden.parameters import ArrayParameters

__all__ = ["SMALL", "ENGINES"]

SMALL = ArrayParameters(name="small", lanes=4, tile_rows=1, tile_columns=2, group=16, y_lanes=2,
                        x_depth=16, w_depth=16)

ENGINES = [
    SMALL,
    SMALL.replace(name="mixed", wide=True, x_zero=True, x_scale="fp16", y_lanes=1),
    SMALL.replace(name="float", x="fp16", mac="float", w="int4", lanes=2),
    SMALL.replace(name="aligned", x="fp16", x_align=8, x_scale="e8m0"),
]
