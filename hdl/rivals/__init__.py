"""What the arrays are measured against: elements and tiles that multiply whole operands."""
