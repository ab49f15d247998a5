"""Input images: readers, crops, batches, and pedestrians that the project draws itself."""
