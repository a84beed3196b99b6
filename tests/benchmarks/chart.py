"""The burst as a picture: a worker beside the limit, for each count of partitions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from tests.benchmarks.application import Program

WIDTH, HEIGHT = 720, 300
TOP, BOTTOM = 70, 250
PANEL_WIDTH, PANEL_GAP, LEFT = 320, 40, 20
BAR_WIDTH = 34
# Read as well on white as on black.
TEXT, LINE = "#808080", "#9a9a9a"
COLOURS = {Program.WORKER: "#3b82f6", Program.LIMIT: "#d97706"}
PANELS = (("speed", "burst: jobs/s", 0), ("CPU a job", "burst: CPU a job, ms", 2))


@dataclass(frozen=True, slots=True)
class Bar:
    """What was measured of a program with so many partitions: the least, the middle and the most."""

    partitions: int
    program: Program
    low: float
    middle: float
    high: float


def draw(figures: Sequence[dict[str, Any]]) -> str:
    """Return an SVG of a document's figures; without a burst among them it has only its legend."""
    svg = ElementTree.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {WIDTH} {HEIGHT}",
            "font-family": "sans-serif",
            "font-size": "13",
            "role": "img",
        },
    )
    ElementTree.SubElement(svg, "title").text = "A burst of jobs: the worker beside the limit, by partitions"
    for number, program in enumerate(Program):
        left = LEFT + number * 90
        _box(svg, left, 10, 12, 12, COLOURS[program])
        _text(svg, left + 18, 21, program.value, anchor="start")
    for number, (figure, title, digits) in enumerate(PANELS):
        left = LEFT + number * (PANEL_WIDTH + PANEL_GAP)
        _text(svg, left, 50, title, anchor="start", weight="bold")
        _line(svg, left, BOTTOM, left + PANEL_WIDTH, BOTTOM)
        if bars := _bars(figures, figure):
            _panel(svg, left, bars, digits)
    ElementTree.indent(svg)
    return ElementTree.tostring(svg, encoding="unicode") + "\n"


def _bars(figures: Sequence[dict[str, Any]], name: str) -> list[Bar]:
    """Return what of the figures is a burst's, of one name."""
    bars = []
    for figure in figures:
        numbers, labels = figure["numbers"], figure["labels"]
        if figure["benchmark"].startswith("burst") and figure["figure"].startswith(f"{name}:") and "program" in labels:
            program = Program(labels["program"])
            bars.append(Bar(labels["partitions"], program, numbers["min"], numbers["median"], numbers["max"]))
    return bars


def _panel(svg: ElementTree.Element, left: int, bars: Sequence[Bar], digits: int) -> None:
    counts = sorted({bar.partitions for bar in bars})
    scale = (BOTTOM - TOP) / max(bar.high for bar in bars)
    for bar in bars:
        middle = left + PANEL_WIDTH * (counts.index(bar.partitions) + 0.5) / len(counts)
        x = middle + (list(Program).index(bar.program) - 1) * (BAR_WIDTH + 4)
        centre = x + BAR_WIDTH / 2
        _box(svg, x, BOTTOM - bar.middle * scale, BAR_WIDTH, bar.middle * scale, COLOURS[bar.program])
        _line(svg, centre, BOTTOM - bar.low * scale, centre, BOTTOM - bar.high * scale)
        _text(svg, centre, BOTTOM - bar.high * scale - 4, f"{bar.middle:.{digits}f}")
    for number, count in enumerate(counts):
        _text(svg, left + PANEL_WIDTH * (number + 0.5) / len(counts), BOTTOM + 18, f"{count} partitions")


def _box(svg: ElementTree.Element, x: float, y: float, width: float, height: float, colour: str) -> None:
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "width": f"{width:.1f}", "height": f"{height:.1f}"}
    ElementTree.SubElement(svg, "rect", {**place, "fill": colour})


def _line(svg: ElementTree.Element, x1: float, y1: float, x2: float, y2: float) -> None:
    place = {"x1": f"{x1:.1f}", "y1": f"{y1:.1f}", "x2": f"{x2:.1f}", "y2": f"{y2:.1f}"}
    ElementTree.SubElement(svg, "line", {**place, "stroke": LINE})


def _text(
    svg: ElementTree.Element, x: float, y: float, text: str, *, anchor: str = "middle", weight: str = "normal"
) -> None:
    looks = {"fill": TEXT, "text-anchor": anchor, "font-weight": weight}
    ElementTree.SubElement(svg, "text", {"x": f"{x:.1f}", "y": f"{y:.1f}", **looks}).text = text
