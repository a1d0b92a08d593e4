"""Claims about detection: given these signals, when folded, then these findings."""
