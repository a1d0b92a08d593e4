"""Tests of what the three services share."""
