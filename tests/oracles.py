"""Eq. 1-7 and the ROI projection, written from the paper as plain loops in float64: what the package is compared with.

The agreement of two views, the neighbours' likelihood and the jitter of colours, which the paper has not, are written
from their definitions.
Imports nothing of vpmsearch, so that no mistake is shared. Arguments are numpy arrays; axes as in the paper: B images,
p regions, T (B, c, h, w).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np


def region_probabilities(logits):
    """Eq. 1: softmax over the regions at every pixel g of T."""
    logits = np.asarray(logits, dtype=np.float64)
    result = np.zeros_like(logits)
    batch, regions, height, width = logits.shape
    for b, y, x in np.ndindex(batch, height, width):
        largest = max(logits[b, i, y, x] for i in range(regions))
        powers = [math.exp(logits[b, i, y, x] - largest) for i in range(regions)]
        for i in range(regions):
            result[b, i, y, x] = powers[i] / math.fsum(powers)
    return result


def region_visibility(probabilities):
    """Eq. 2: C_i = Σ_g P(R_i | g)."""
    probabilities = np.asarray(probabilities, dtype=np.float64)
    batch, regions = probabilities.shape[:2]
    result = np.zeros((batch, regions))
    for b, i in np.ndindex(batch, regions):
        result[b, i] = math.fsum(probabilities[b, i].ravel())
    return result


def region_embeddings(feature_map, probabilities):
    """Eq. 3: f_i = Σ_g P(R_i | g) g / C_i; zeros where C_i = 0."""
    feature_map = np.asarray(feature_map, dtype=np.float64)
    probabilities = np.asarray(probabilities, dtype=np.float64)
    batch, regions, height, width = probabilities.shape
    result = np.zeros((batch, regions, feature_map.shape[1]))
    visibility = region_visibility(probabilities)
    for b, i in np.ndindex(batch, regions):
        if visibility[b, i] == 0:
            continue
        for y, x in np.ndindex(height, width):
            result[b, i] += probabilities[b, i, y, x] / visibility[b, i] * feature_map[b, :, y, x]
    return result


def euclidean(a, b):
    """‖a − b‖ of two vectors, from differences."""
    return math.sqrt(math.fsum((np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)) ** 2))


def region_distances(query, gallery):
    """D_i of every pair: (Q, p, d), (G, p, d) -> (Q, G, p)."""
    result = np.zeros((len(query), len(gallery), np.shape(query)[1]))
    for q, g, i in np.ndindex(result.shape):
        result[q, g, i] = euclidean(query[q][i], gallery[g][i])
    return result


def visibility_weighted_distance(query, query_visibility, gallery, gallery_visibility):
    """Eq. 4: D = Σ_i C_i^q C_i^g D_i / Σ_i C_i^q C_i^g over the shared regions; inf where there is none."""
    result = np.full((len(query), len(gallery)), math.inf)
    for q, g in np.ndindex(result.shape):
        weights, parts = [], []
        for i in range(np.shape(query)[1]):
            # As fractions: the product of two tiny visibilities must not underflow in the oracle either.
            weight = Fraction(float(query_visibility[q][i])) * Fraction(float(gallery_visibility[g][i]))
            if weight > 0:
                weights.append(weight)
                parts.append(weight * Fraction(euclidean(query[q][i], gallery[g][i])))
        if weights:
            result[q, g] = float(sum(parts) / sum(weights))
    return result


def _log_softmax(logits: Sequence[float]):
    largest = max(logits)
    total = math.log(math.fsum(math.exp(value - largest) for value in logits)) + largest
    return [value - total for value in logits]


def region_label_loss(logits, labels, reduction="mean"):
    """Eq. 5: L_R = −Σ_g log P(R_L | g) of an image (or the mean over its pixels), mean over images."""
    logits = np.asarray(logits, dtype=np.float64)
    batch, _, height, width = logits.shape
    images = []
    for b in range(batch):
        pixels = [-_log_softmax(list(logits[b, :, y, x]))[int(labels[b, y, x])] for y, x in np.ndindex(height, width)]
        images.append(math.fsum(pixels) / (len(pixels) if reduction == "mean" else 1))
    return math.fsum(images) / batch if batch else 0.0


def visible_identity_loss(logits, targets, visible, label_smoothing=0.0):
    """Eq. 6: L_ID = −Σ_{i in V} log softmax(IP_i(f_i))_y, mean over images."""
    logits = np.asarray(logits, dtype=np.float64)
    batch, regions, identities = logits.shape
    total = 0.0
    for b, i in np.ndindex(batch, regions):
        if not visible[b, i]:
            continue
        logs = _log_softmax(list(logits[b, i]))
        total -= (1 - label_smoothing) * logs[int(targets[b])]
        total -= label_smoothing / identities * math.fsum(logs)
    return total / batch if batch else 0.0


def region_selective_triplet_loss(embeddings, pids, visible, margin=1.0):
    """Eq. 7, batch-hard: mean over the anchors that share regions with a positive and with a negative; else 0."""
    batch = len(embeddings)

    def distance(a, b):
        shared = [i for i in range(len(visible[a])) if visible[a][i] and visible[b][i]]
        if not shared:
            return None
        return math.fsum(euclidean(embeddings[a][i], embeddings[b][i]) for i in shared) / len(shared)

    losses = []
    for a in range(batch):
        others = [b for b in range(batch) if b != a and distance(a, b) is not None]
        positives = [distance(a, b) for b in others if pids[b] == pids[a]]
        negatives = [distance(a, b) for b in others if pids[b] != pids[a]]
        if positives and negatives:
            gap = max(positives) - min(negatives)
            losses.append(_softplus(gap) if margin is None else max(0.0, gap + margin))
    return math.fsum(losses) / len(losses) if losses else 0.0


def _softplus(value):
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))


def view_consistency_loss(whole, cut, visible):
    """‖f_i / ‖f_i‖ − f_i' / ‖f_i'‖‖², mean over the visible regions of an image, then over images; no regions are 0."""
    images = []
    for b in range(len(visible)):
        shown = [i for i in range(len(visible[b])) if visible[b][i]]
        parts = [euclidean(_unit(whole[b][i]), _unit(cut[b][i])) ** 2 for i in shown]
        images.append(math.fsum(parts) / len(parts) if parts else 0.0)
    return math.fsum(images) / len(images) if images else 0.0


def _unit(vector):
    length = math.sqrt(math.fsum(float(value) ** 2 for value in vector))
    return [float(value) / length if length else 0.0 for value in vector]


def neighbour_loss(distances, positive, negative, temperature):
    """−log of exp(−D_j / τ) over its sum, mean over an image's positives, then over the images that have both kinds."""
    distances = np.asarray(distances, dtype=np.float64)
    images = []
    for row, is_positive, is_negative in zip(distances, positive, negative, strict=True):
        near = [j for j in range(len(row)) if row[j] != math.inf]
        positives, negatives = [j for j in near if is_positive[j]], [j for j in near if is_negative[j]]
        if positives and negatives:
            drawn = positives + negatives
            logs = dict(zip(drawn, _log_softmax([-row[j] / temperature for j in drawn]), strict=True))
            images.append(-math.fsum(logs[j] for j in positives) / len(positives))
    return math.fsum(images) / len(images) if images else 0.0


def jittered(pixels, brightness, contrast, saturation):
    """(H, W, 3) levels times `brightness`; moved from the mean grey by `contrast`, from their own grey by `saturation`.

    Whole levels after each step, as an image has them; grey is the luma of ITU-R 601.
    """
    result = np.asarray(pixels, dtype=np.float64).copy()
    places = list(np.ndindex(result.shape[:2]))
    for place in places:
        result[place] = [_level(value * brightness) for value in result[place]]
    mean = math.floor(math.fsum(_luma(result[place]) for place in places) / len(places) + 0.5)
    for place in places:
        result[place] = [_level(mean + contrast * (value - mean)) for value in result[place]]
    for place in places:
        grey = _luma(result[place])
        result[place] = [_level(grey + saturation * (value - grey)) for value in result[place]]
    return result


def _luma(colour):
    red, green, blue = colour
    return math.floor(0.299 * red + 0.587 * green + 0.114 * blue + 0.5)


def _level(value):
    return float(math.floor(min(max(value, 0.0), 255.0)))


def region_labels(box, grid, map_size, stride=16):
    """Section 3.3: every region's rectangle on T by ROI projection, each pixel claimed by exactly one.

    box: (left, top, right, bottom) as fractions.Fraction of the holistic image; exact throughout.
    """
    left, top, right, bottom = (Fraction(value) for value in box)
    (rows, columns), (height, width) = grid, map_size
    labels = np.full(map_size, -1, dtype=np.int64)
    for row, column in np.ndindex(rows, columns):
        x1, x2 = (_project(Fraction(c, columns), left, right, width, stride) for c in (column, column + 1))
        y1, y2 = (_project(Fraction(r, rows), top, bottom, height, stride) for r in (row, row + 1))
        for y in range(y1, y2):
            for x in range(x1, x2):
                assert labels[y, x] == -1, "two regions claim one pixel"
                labels[y, x] = row * columns + column
    assert (labels >= 0).all(), "no region claims a pixel"
    return labels


def _project(place, start, stop, pixels, stride):
    """A place on the holistic image -> input pixels of the crop, resized -> [x / S], half rounded up."""
    size = pixels * stride
    x = min(max((place - start) / (stop - start) * size, Fraction(0)), Fraction(size))
    return math.floor(x / stride + Fraction(1, 2))
