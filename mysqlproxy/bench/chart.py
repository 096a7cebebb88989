"""The chart, as PNG and SVG: statements per second and CPU per statement of every target, row by row.

Called by ``commands.bench``. matplotlib is an optional dependency and imported only here.
"""

# ruff: noqa: PLC0415 - optional, and slow to import

from __future__ import annotations

import importlib.util
import os
import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mysqlproxy.bench.plan import HAPROXY, PROXY
from mysqlproxy.bench.report import UNITS, pairs
from mysqlproxy.bench.stats import CPU, QPS, Sample, median

REMEDY = "without matplotlib there is no chart; pip install 'mysqlproxy[bench]' or pip install matplotlib"
_BAR_INCHES, _GAP = 0.16, 1.0


def available() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw(samples: Sequence[Sample], title: str, stem: Path) -> list[Path]:
    """Write ``stem`` with .png and .svg; nothing when no row has such figures. Returns the files."""
    lines = [pair for pair in pairs(samples) if median(samples, *pair, QPS) is not None]
    if not lines:
        return []
    with _cache_elsewhere():
        from matplotlib.figure import Figure

        height = 1.5 + _BAR_INCHES * (len(lines) + _GAP * len({row for row, _ in lines}))
        figure = Figure(figsize=(13, height), layout="constrained")
        figure.suptitle(textwrap.fill(title, 150), fontsize=8)
        left, right = figure.subplots(1, 2)
        for axes, measure in ((left, QPS), (right, CPU)):
            _bars(axes, samples, lines, measure)
        right.set_yticks([])
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8)
        files = [stem.with_suffix(suffix) for suffix in (".png", ".svg")]
        for file in files:
            figure.savefig(file, dpi=110)
    return files


@contextmanager
def _cache_elsewhere() -> Iterator[None]:
    """matplotlib leaves a cache of fonts in the home folder; here it goes with a temporary one."""
    if "MPLCONFIGDIR" in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="mysqlproxy-bench-") as folder:
        os.environ["MPLCONFIGDIR"] = folder
        try:
            yield
        finally:
            del os.environ["MPLCONFIGDIR"]


def _bars(axes: Any, samples: Sequence[Sample], lines: Sequence[tuple[str, str]], measure: str) -> None:
    """One bar for each line, as long as a multiple of HAProxy's, with the figure itself beside it; a colour for each
    target, the rows apart from each other, the first on top."""
    targets = list(dict.fromkeys(target for _, target in lines))
    places: dict[str, list[float]] = {}
    at, last, labelled = 0.0, "", set()
    for row, target in lines:
        at -= 1.0 if row == last else 1.0 + _GAP
        last = row
        places.setdefault(row, []).append(at)
        value = median(samples, row, target, measure)
        unit = median(samples, row, HAPROXY, measure) or median(samples, row, PROXY, measure)
        length = value / unit if value and unit else 0.0
        label = "_" if target in labelled else target
        labelled.add(target)
        axes.barh(at, length, color=f"C{targets.index(target)}", label=label, height=0.9)
        if value is not None:
            text = f" {value:,.0f}" if value >= 100 else f" {value:.1f}"
            axes.annotate(text, (length, at), va="center", fontsize=6)
    axes.set_yticks([sum(found) / len(found) for found in places.values()], list(places), fontsize=8)
    axes.axvline(1.0, color="black", linewidth=0.5)
    axes.margins(x=0.1, y=0.01)
    axes.set_title(f"{UNITS[measure]}, as a multiple of {HAPROXY}'s", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
