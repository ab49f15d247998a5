"""Fill a query from its nearest image: what the query does not show is taken from the image that looks most like it.

An extension beside the paper, off by default. It is average query expansion with one neighbour (Chum et al., *Total
Recall*, ICCV 2007) on Eq. 4; `vpmsearch evaluate --expand 1` measures it. The mean is that of
`vpmsearch.evaluation.expansion`: as if the pixels of both photographs were one photograph's.

A half body becomes a whole one this way. Where the nearest image shows somebody else, its regions are somebody else's
too, so whoever searches is told which image was used.
"""

from __future__ import annotations

import numpy as np

from vpmsearch.search.queries import summed
from vpmsearch.types import Bool, RegionFeatures


def filled(query: RegionFeatures, nearest: RegionFeatures, known: Bool, threshold: float) -> RegionFeatures:
    """Each query, region by region the mean of itself and its nearest image, weighted by what each shows of it.

        f_i = (C_i^q f_i^q + C_i^g f_i^g) / (C_i^q + C_i^g)        C_i = C_i^q + C_i^g

    The sum is not halved: Eq. 4 does not change with the scale of a query's visibility, and half of what a whole image
    shows of a region lies right at the default `min_visibility`.

    Args:
        query: n queries, (n, p) and (n, p, d). nearest: the nearest image of each, of the same shapes. known: (n,),
            False: the query has no nearest image and stays what it is. threshold: `min_visibility`; a region below
            it counts as not shown.

    Returns:
        (n, p) and (n, p, d); visibility is in [0, 2]. A region that neither shows has visibility 0.
    """
    whole = summed([query, nearest], threshold)
    return RegionFeatures(
        np.where(known[:, None], whole.visibility, query.visibility).astype(np.float32),
        np.where(known[:, None, None], whole.embeddings, query.embeddings).astype(np.float32),
    )
