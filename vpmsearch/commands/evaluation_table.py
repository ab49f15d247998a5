"""The table that `vpmsearch evaluate` prints: its head, and the lines of a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vpmsearch.evaluation.intervals import Interval
    from vpmsearch.evaluation.rows import Evaluation
    from vpmsearch.evaluation.trials import TrialMeans

TABLE_HEAD = (
    "gamma  crop       weighting   rank-1  rank-3  rank-5  rank-10     mAP  mAP(trapezoid)    mINP  visible F1  queries"
)


def table_row(row: Evaluation) -> str:
    """The figures, and below them how sure they are."""
    from vpmsearch.evaluation.rows import Ranking

    cmc, metrics = row.metrics.cmc, row.metrics
    ranks = f"{cmc[0]:6.4f}  {cmc[2]:6.4f}  {cmc[4]:6.4f}  {cmc[9]:7.4f}"
    means = f"{metrics.mean_ap:6.4f}  {metrics.mean_ap_trapezoid:14.4f}  {metrics.mean_inp:6.4f}"
    line = (
        f"{row.gamma:5.2f}  {row.crop:9s}  {row.weighting:10s}  {ranks}  {means}  {row.visible_f1:10.4f}  "
        f"{row.queries:7d}\n{'':7s}95 %: rank-1 {_range(row.rank1_interval)}, mAP {_range(row.mean_ap_interval)}"
    )
    if row.ranking != Ranking():
        line += f"\n{'':7s}ranked by {row.ranking}"
    if row.fnmr:
        rates = ", ".join(f"FNMR {value:.4f} at FMR {fmr:g}" for fmr, value in row.fnmr.items())
        line += f"\n{'':7s}{rates}, by {Ranking()}"
    if gain := row.gain:
        line += (
            f"\n{'':7s}visibility adds to rank-1 {gain.rank1:+.4f} {_range(gain.rank1_interval, '+')}, "
            f"to mAP {gain.mean_ap:+.4f} {_range(gain.mean_ap_interval, '+')}"
        )
    return line


def mean_row(mean: TrialMeans) -> str:
    """The means over trials, and below them how far the trials spread."""
    row = mean.to_json()
    std = row["std"]
    ranks = f"{row['rank1']:6.4f}  {row['rank3']:6.4f}  {row['rank5']:6.4f}  {row['rank10']:7.4f}"
    means = f"{row['map']:6.4f}  {row['map_trapezoid']:14.4f}  {row['minp']:6.4f}"
    line = (
        f"{row['gamma']:5.2f}  {row['crop']:9s}  {row['weighting']:10s}  {ranks}  {means}  {row['visible_f1']:10.4f}  "
        f"{row['queries']:7.0f}\n{'':7s}± over {len(mean.rows)} trials (standard deviation): "
        f"rank-1 {std['rank1']:.4f}, mAP {std['map']:.4f}"
    )
    if (ranking := mean.rows[0].ranking) != type(ranking)():
        line += f"\n{'':7s}ranked by {ranking}"
    if "fnmr" in row:
        rates = ", ".join(f"FNMR {value:.4f} at FMR {fmr}" for fmr, value in row["fnmr"].items())
        line += f"\n{'':7s}{rates}, by {row['fnmr_ranking']}"
    if "rank1_gain" in row:
        gains = [
            f"{name} {row[key]:+.4f} ± {std[key]:.4f}" for name, key in (("rank-1", "rank1_gain"), ("mAP", "map_gain"))
        ]
        line += f"\n{'':7s}visibility adds to {', to '.join(gains)}"
    return line


def _range(interval: Interval, sign: str = "") -> str:
    return f"[{interval.low:{sign}.4f}, {interval.high:{sign}.4f}]"
