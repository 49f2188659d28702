"""A deployable as the files of whoever deploys it: one pure function for each kind of file."""
