"""What a Deployment that is already there says of the server in it. Pure: read by somebody else, as plain data."""
