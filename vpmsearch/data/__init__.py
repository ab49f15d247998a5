"""Images in: readers, crops, batches, and pedestrians that the project draws itself."""
