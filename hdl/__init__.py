"""Hardware components in Amaranth, exported as Verilog."""
