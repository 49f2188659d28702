"""The structure-aware optimizer: known cost, learned capacity, physics weighed against a plain model. The numpy door."""
