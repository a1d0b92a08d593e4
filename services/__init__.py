"""Casewarden: authz, cases and audit over one append-only log, and the kernel they share."""
