"""What a statement is: lexer, digest, classification with sqlglot, verdict."""
