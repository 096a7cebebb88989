"""Sockets: listeners, TLS, back-pressure, deadlines, named tasks."""
