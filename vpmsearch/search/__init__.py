"""Search: candidates from the region indexes, Eq. 4 on what is left, verdicts."""
