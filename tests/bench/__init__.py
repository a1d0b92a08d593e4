"""The benchmark: Casewarden against its peers, side by side in one run (``make bench``).

What each name means, and the peers' settings, are in ``docs/benchmarks.md``. Loopback and a
temporary directory only; bounded in count and time.
"""
