"""What operators see: HTTP endpoints."""
