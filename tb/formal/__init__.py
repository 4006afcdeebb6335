"""Proofs: what is claimed of blocks for all inputs, and how a solver or algebra shows it."""
