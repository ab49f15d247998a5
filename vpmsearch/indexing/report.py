"""What an indexing run did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vpmsearch.indexing.labels import LABELS, LabelChanges
from vpmsearch.model.extraction import Rejected
from vpmsearch.words import printable

EXAMPLES = 10
"""A report names at most so many equal files; it counts all."""


@dataclass
class IndexReport:
    """What a run did, or what a dry run would do. Counts are of images.

    indexed: added; `replaced` of them are changed files. unchanged: same path, bytes and labels as before.
    relabelled: same bytes, but another pid, camid or time; `labels` says which. moved: same bytes under a new path, and
    the old file is gone. Relabelled and moved images keep embedding and image id. kept_labels: unchanged, relabelled
    and moved images that kept a label which the source does not know. duplicates: indexed images with the same bytes as
    another image; `equal` names some, each with that other. pruned: removed, as their files have vanished;
    `pruned_paths` names all. dead: images whose files are gone and whose bytes an image of this gallery has too; a run
    that prunes removes them. images: in the index now.
    """

    indexed: int = 0
    replaced: int = 0
    unchanged: int = 0
    relabelled: int = 0
    kept_labels: int = 0
    moved: int = 0
    duplicates: int = 0
    pruned: int = 0
    dead: int = 0
    images: int = 0
    seconds: float = 0.0
    labels: LabelChanges = field(default_factory=LabelChanges)
    equal: list[tuple[str, str]] = field(default_factory=list)
    pruned_paths: list[str] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)

    def count_duplicate(self, path: str, other: str) -> None:
        """Count an indexed image with the same bytes as another."""
        self.duplicates += 1
        if len(self.equal) < EXAMPLES:
            self.equal.append((path, other))

    def count_pruned(self, path: str) -> None:
        """Count an image that was removed, as its file has vanished."""
        self.pruned += 1
        self.pruned_paths.append(path)

    def to_json(self) -> dict[str, Any]:
        """As a JSON object: the counts by name, `labels` by label, and lists of paths."""
        names = ("indexed", "replaced", "unchanged", "relabelled", "kept_labels", "moved", "duplicates", "pruned")
        kinds = {"given": self.labels.given, "changed": self.labels.changed, "cleared": self.labels.cleared}
        return {
            **{name: getattr(self, name) for name in (*names, "dead", "images", "seconds")},
            "labels": {name: {kind: count[name] for kind, count in kinds.items()} for name in LABELS},
            "pruned_paths": self.pruned_paths,
            "rejected": [{"path": printable(item.path), "reason": item.reason} for item in self.rejected],
        }
