"""The specification, in numpy: formats, parameter sets, quantisers and the arithmetic.

Hardware imports the declarations (:mod:`golden.formats`, :mod:`golden.parameters`) and never the
arithmetic; golden imports nothing but numpy and the standard library.
"""
