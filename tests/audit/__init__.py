"""Claims about the audit service."""
