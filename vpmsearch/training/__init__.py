"""Training VPM: presets, the losses of Eq. 5-8, the loop and its checkpoints."""
