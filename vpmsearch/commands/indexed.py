"""The messages of `vpmsearch index` at the end of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpmsearch.commands.terminal import say
from vpmsearch.words import number_of, printable

if TYPE_CHECKING:
    from vpmsearch.data.not_taken import NotTaken
    from vpmsearch.indexing.report import IndexReport
    from vpmsearch.store.place import Place

SHOWN = 10
"""Files of a kind that are named; all are counted."""


def tell_not_taken(aside: NotTaken) -> None:
    """Say what was left aside of a gallery, by kind, with examples of each kind: files, boxes, rotations of boxes."""
    kinds = []
    for kind, count in aside.counts.most_common(SHOWN):
        examples = aside.examples.get(kind, [])
        some = ", ".join(map(printable, examples)) + (", …" if examples and count > len(examples) else "")
        kinds.append(f"{kind}: {count}" + (f" ({some})" if some else ""))
    if len(aside.counts) > SHOWN:
        kinds.append(f"and {len(aside.counts) - SHOWN} more kinds")
    if kinds:
        say(f"left aside: {'; '.join(kinds)}")


def tell_report(report: IndexReport, index: Place, *, dry_run: bool) -> None:
    """Say what was done, or would be: files by name first, then the counts, then what is worth knowing."""
    _name("rejected", [f"{printable(r.path)}: {r.reason}" for r in report.rejected], "`vpmsearch stats --rejected`")
    if dry_run:
        _name("would prune", [printable(path) for path in report.pruned_paths], "--json")
    say(
        f"{'would be: ' if dry_run else ''}{report.indexed} indexed ({report.replaced} of them changed), "
        f"{report.unchanged} unchanged, {report.relabelled} relabelled, {report.moved} moved, {report.pruned} pruned, "
        f"{len(report.rejected)} rejected in {report.seconds:.1f} s; {index} now holds "
        f"{number_of(report.images, 'image')}"
    )
    if changes := str(report.labels):
        say(f"labels: {changes}")
    if report.kept_labels:
        keep = "keeps" if report.kept_labels == 1 else "keep"
        say(
            f"{number_of(report.kept_labels, 'image')} {keep} labels that this gallery does not know; --clear-labels "
            "takes them away"
        )
    if report.duplicates:
        equal = ", ".join(f"{printable(path)} as {printable(other)}" for path, other in report.equal[:SHOWN])
        have = "has" if report.duplicates == 1 else "have"
        say(f"{report.duplicates} of the indexed images {have} the same bytes as another image: {equal}")
    if report.dead:
        say(
            f"of {number_of(report.dead, 'indexed image')} the file is gone, and this gallery has the same bytes "
            "elsewhere; --prune removes what is gone, and its labels go over"
        )


def _name(what: str, lines: list[str], where: str) -> None:
    for line in lines[:SHOWN]:
        say(f"{what}: {line}")
    if len(lines) > SHOWN:
        say(f"… and {len(lines) - SHOWN} more; {where} lists all")
