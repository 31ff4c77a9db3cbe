"""The flight recorder: what a call's messages, packets and decisions were, kept when it went wrong."""
