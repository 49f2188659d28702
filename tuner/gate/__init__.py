"""The release gate's values and pure functions: what a lock file holds, and what measurements beside it show."""
