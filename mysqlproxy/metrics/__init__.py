"""Counters on the path as plain integers, and the Prometheus collector that reads them."""
