"""One scan of all regions over codes that lie in memory."""
