"""Fill a query from its nearest image: regions that the query does not show are taken from the most similar image.

This extends the paper and is off by default. It is average query expansion with one neighbour (Chum et al., *Total
Recall*, ICCV 2007) on Eq. 4; `vpmsearch evaluate --expand 1` measures it. The mean is that of
`vpmsearch.evaluation.expansion`: as if the pixels of both photographs were those of one.

So a half body becomes a whole one. If the nearest image shows somebody else, its regions are wrong too. So the answer
names the image that was used.
"""

from __future__ import annotations

import numpy as np

from vpmsearch.search.queries import summed
from vpmsearch.types import Bool, RegionFeatures


def filled(query: RegionFeatures, nearest: RegionFeatures, known: Bool, threshold: float) -> RegionFeatures:
    """The mean of each query and its nearest image, region by region, weighted by what each shows of the region.

        f_i = (C_i^q f_i^q + C_i^g f_i^g) / (C_i^q + C_i^g)        C_i = C_i^q + C_i^g

    The visibility is a sum and not halved. Eq. 4 does not depend on the scale of a query's visibility, and half of
    what a whole image shows of a region is about the default `min_visibility`.

    Args:
        query: n queries, (n, p) and (n, p, d). nearest: the nearest image of each, of the same shapes. known: (n,);
            where False the query has no nearest image and is not changed. threshold: `min_visibility`; a region below
            it counts as not shown.

    Returns:
        (n, p) and (n, p, d); visibility is in [0, 2]. A region that neither shows has visibility 0.
    """
    whole = summed([query, nearest], threshold)
    return RegionFeatures(
        np.where(known[:, None], whole.visibility, query.visibility).astype(np.float32),
        np.where(known[:, None, None], whole.embeddings, query.embeddings).astype(np.float32),
    )
