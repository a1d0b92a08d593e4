"""What the three services share: the log, sealing, effects, errors, telemetry, HTTP plumbing.

Imports no service.
"""
