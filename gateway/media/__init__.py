"""The media worker: sockets, codecs, ring buffers, bridges and the 20 ms clock."""
