"""Claims about the cases service."""
