"""Optimizers: each answers `suggest(history, pending)` for one search problem."""
