"""The function and its derivatives as formulas."""
