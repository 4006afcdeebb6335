"""Attention's second product: codes of probabilities times V."""
