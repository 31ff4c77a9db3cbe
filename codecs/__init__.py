"""Samples: PCM frames in and out of payload octets. Imports no other room."""
