"""Boxes of people inside photographs and films, as detectors, trackers and annotation tools write them."""
