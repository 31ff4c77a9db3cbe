"""A trunk, an agent server and a caller on loopback, for the demo, tests and benchmark. Production never imports it."""
