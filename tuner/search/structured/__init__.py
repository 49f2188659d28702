"""The structure-aware optimizer: known cost, learned capacity, physics against a plain model. A numpy door."""
