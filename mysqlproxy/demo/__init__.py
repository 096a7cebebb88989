"""A local cluster with the daemon in front, and the workload that shows it."""
