"""Tests: claims about Casewarden, mirroring the tree of `services`."""
