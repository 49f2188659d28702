"""Kubernetes objects as plain dicts, and what a cluster's answers mean. Pure: no I/O, no clock, no client library."""
