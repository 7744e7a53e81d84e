"""The HTTP face: Klein routes, body streaming, ranges, digests and errors."""
