"""Load: a profile's requests, sent when they are due, by one child process per run."""
