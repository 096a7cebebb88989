"""Connections to servers: login, state, reset, and who holds them."""
