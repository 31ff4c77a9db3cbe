"""The benchmark: N calls of G.711 with the agent talking, on loopback. See docs/benchmark.md."""
