"""What happened, and proof of it: queries, tamper evidence, detection, alerts, registers.

The audit service reads the whole log and holds none of the keys of the cases. It sees that a
record was touched, by whom and on what grounds; never what was in it.
"""
