#!/bin/sh
# qdrant-client 1.20.0 in local mode (QdrantClient(":memory:") or a path), with distances in which less is nearer:
# 1. Fusion by score (DBSF) of answers by EUCLID or MANHATTAN puts the farthest first: it adds up normalised distances and
#    sorts them as if more were better. Whoever keeps a vector for each part of a person and fuses the parts gets the worst
#    of each part's list on top. RRF, which goes by rank, is right; so is DBSF by COSINE.
# 2. A multivector by EUCLID and MAX_SIM is ranked by the root of the sum of the squared least distances, not by their sum,
#    as by MANHATTAN. So a person with one part that fits badly comes behind one whose parts all fit half.
# Seen, places of the four images by distance 1, 2, 3, 4 after fusion: EUCLID DBSF 4 3 2 1, RRF 1 2 3 4; COSINE DBSF 1 2 3 4.
# Multivectors at the distances (0, 3) and (2, 2): EUCLID 3.0 and 2.83, so the second is first; MANHATTAN 3.0 and 4.0.
# Runs qdrant-client==1.20.0 numpy==2.4.6 in a temporary folder, without vpmsearch; exits non-zero when it behaves otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --disable-pip-version-check \
    qdrant-client==1.20.0 numpy==2.4.6
cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
from qdrant_client import QdrantClient, models

client = QdrantClient(":memory:")


def fused(distance: models.Distance, how: models.Fusion) -> list[int]:
    """The images in order of the fused answers of two parts; image i lies i steps from the query in either part."""
    name = f"{distance} {how}"
    part = models.VectorParams(size=2, distance=distance)
    client.create_collection(name, vectors_config={"head": part, "feet": part})
    for number in range(1, 5):
        place = [1.0, 0.2 * number]
        client.upsert(name, [models.PointStruct(id=number, vector={"head": place, "feet": place})])
    asked = [models.Prefetch(query=[1.0, 0.0], using=part, limit=4) for part in ("head", "feet")]
    return [found.id for found in client.query_points(name, prefetch=asked, query=models.FusionQuery(fusion=how)).points]


def several(distance: models.Distance) -> list[tuple[int, float]]:
    """(image, score) in order; the least distances of image 1 are 0 and 3, of image 2 they are 2 and 2."""
    together = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    name = f"parts {distance}"
    client.create_collection(
        name, vectors_config=models.VectorParams(size=2, distance=distance, multivector_config=together)
    )
    client.upsert(name, [models.PointStruct(id=1, vector=[[0.0, 0.0], [100.0, 3.0]])])
    client.upsert(name, [models.PointStruct(id=2, vector=[[0.0, 2.0], [100.0, 2.0]])])
    return [
        (found.id, round(found.score, 2))
        for found in client.query_points(name, query=[[0.0, 0.0], [100.0, 0.0]], limit=2).points
    ]


euclid, manhattan, cosine = models.Distance.EUCLID, models.Distance.MANHATTAN, models.Distance.COSINE
order = {
    "EUCLID DBSF": fused(euclid, models.Fusion.DBSF),
    "MANHATTAN DBSF": fused(manhattan, models.Fusion.DBSF),
    "EUCLID RRF": fused(euclid, models.Fusion.RRF),
    "COSINE DBSF": fused(cosine, models.Fusion.DBSF),
}
parts = {"EUCLID": several(euclid), "MANHATTAN": several(manhattan)}
print(order, parts)
assert order["EUCLID DBSF"] == order["MANHATTAN DBSF"] == [4, 3, 2, 1]
assert order["EUCLID RRF"] == order["COSINE DBSF"] == [1, 2, 3, 4]
assert parts == {"EUCLID": [(2, 2.83), (1, 3.0)], "MANHATTAN": [(1, 3.0), (2, 4.0)]}
PYTHON
