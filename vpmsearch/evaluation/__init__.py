"""Measures how well a model or an index finds people."""
