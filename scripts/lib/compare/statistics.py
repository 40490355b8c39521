"""Medians and paired ratios. A ratio is formed inside a round, where both sides met the same
machine, and only then summarised: the machine's drift cancels."""

from dataclasses import dataclass
from statistics import median
from typing import List, Optional


@dataclass(frozen=True)
class Summary:
    """Median and range of some values."""

    median: float
    low: float
    high: float
    count: int


def summarise(values: List[Optional[float]]) -> Optional[Summary]:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Summary(median(known), min(known), max(known), len(known))


def paired_ratio(numerators, denominators) -> Optional[Summary]:
    """Summary of `numerators[round] / denominators[round]` over rounds that have both."""
    pairs = zip(numerators, denominators)
    return summarise([top / bottom for top, bottom in pairs
                      if top is not None and bottom not in (None, 0)])


def best(values, smaller_is_better):
    """Element-wise best of several series: the strongest opponent of each round."""
    rounds = zip(*values)
    choose = min if smaller_is_better else max
    return [choose(known) if (known := [value for value in one if value is not None]) else None
            for one in rounds]
