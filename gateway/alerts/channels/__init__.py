"""How an alert reaches somebody: one module a channel."""
