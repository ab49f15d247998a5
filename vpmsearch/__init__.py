"""Search a gallery of person crops with a probe that may show only a part of the person.

The method is VPM: Sun et al., "Perceive Where to Focus", CVPR 2019. Importing this package imports no torch.
"""

__version__ = "0.1.0"
