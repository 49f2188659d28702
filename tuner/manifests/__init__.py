"""Configurations as text and plain dicts: what runners apply and reports export. Pure: no I/O."""
