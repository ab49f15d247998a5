"""One scan of all regions, over codes in memory."""
