"""Configuration: the schema, loading it, and what must fit together."""
