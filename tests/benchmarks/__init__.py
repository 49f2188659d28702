"""Benchmarks of the search: scenarios whose physics the search has never seen, and the runner over them."""
