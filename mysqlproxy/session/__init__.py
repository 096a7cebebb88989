"""One client's life: engine, state, transactions, prepared statements, relay."""
