"""A key-value store over TCP whose server keeps its records in a replicated MySQL."""
