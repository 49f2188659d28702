"""Programs that run in the server environment, not in ours."""
