"""`vpmsearch index` that says on stdout when a batch is done, and takes its time: python stop_driver.py ARGUMENTS…"""

from __future__ import annotations

import sys
import time

import torch

from vpmsearch.commands import app
from vpmsearch.model.extraction import Extractor

torch.set_num_threads(1)
real = Extractor._features


def slowly(self, pixels):
    features = real(self, pixels)
    print("batch", flush=True)
    time.sleep(0.2)
    return features


Extractor._features = slowly
app(sys.argv[1:])
