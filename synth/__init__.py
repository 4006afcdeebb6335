"""Area, timing and power of Verilog, mapped to a cell library."""
