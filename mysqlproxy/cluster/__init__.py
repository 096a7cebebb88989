"""The servers: the view of the cluster and the monitor that keeps it."""
