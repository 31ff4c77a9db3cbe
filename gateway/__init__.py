"""Calls, agents, bridges, records and the command line: where the other rooms meet."""
