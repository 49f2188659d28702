"""The core: frozen values and pure functions. No I/O, no clock, no environment."""
