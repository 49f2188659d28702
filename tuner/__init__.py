"""servetune: the cheapest serving spec that meets its SLOs, found by load tests and proven by fresh ones."""

__version__ = "0.1.0"
