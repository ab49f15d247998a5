"""The networks: trunks by name, VPM on top, and their weights files."""
