"""Where a statement goes: pure functions on a verdict and a view of the cluster."""
