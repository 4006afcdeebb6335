"""Softmax of rows of logits on codes of a few bits."""
