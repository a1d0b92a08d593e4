"""Detection (SG-9, SG-10): pure folds from what happened to what somebody should look at.

Owns: the rules, their memory between two signals, and what a finding may say. Never reads a
clock, a database, or an event's content: the caller turns events into signals, keeps the
state, and turns findings into alerts. In the flow: projection → signals → rules → findings.
"""
