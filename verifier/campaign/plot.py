"""The power curves as an SVG file of our own making: no script, readable on light and dark. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from verifier.campaign.conditions import COMBINED, NOMINAL, Condition
from verifier.campaign.run import Campaign, Cell
from verifier.verdict.constants import FIRST_LIMIT, LAST_LIMIT, RULE_ID

_WIDE, _HIGH = 300, 190
_LEFT, _TOP, _GAP_X, _GAP_Y = 56, 92, 52, 96
_LEGEND: Final = 116

_STYLE: Final = """
  text { font: 12px system-ui, sans-serif; fill: #6b6b6b }
  .head { font-size: 13px; font-weight: 600 }
  .title { font-size: 15px; font-weight: 600 }
  .frame { fill: none; stroke: #8a8a8a }
  .grid { stroke: #8a8a8a; stroke-opacity: .28 }
  .curve { fill: none; stroke-width: 2; stroke-linejoin: round }
  @media (prefers-color-scheme: dark) { text { fill: #b4b4b4 } }
"""


@dataclass(frozen=True, slots=True)
class _Line:
    """A curve: its name in the legend, colour, dashes, and where its shares come from."""

    name: str
    colour: str
    dashes: str

    def style(self) -> str:
        dashes = f' stroke-dasharray="{self.dashes}"' if self.dashes else ""
        return f'stroke="{self.colour}"{dashes}'


_OUTCOMES: Final = (
    _Line("reproduced", "#2a8f57", ""),
    _Line("unimproved", "#4a78c8", "7 3"),
    _Line("undecided", "#b98412", "2 3"),
)
_NAIVE: Final = {
    "equal to six digits": _Line("equal to six digits", "#8a8a8a", ""),
    "one re-run near a lucky claim": _Line("one re-run near a lucky claim", "#c8506a", "7 3"),
    "mean of three beats the record": _Line("mean of three beats the record", "#9a62c4", "2 3"),
    "controls first": _Line("controls first", "#c77d3c", "9 3 2 3"),
    "no clip, minimum or spread check": _Line("bare likelihood ratio", "#3a9aa8", "4 4"),
}
_ROWS: Final = ((NOMINAL, "nominal"), (COMBINED, COMBINED.name))

Series = list[tuple[_Line, list[float]]]


def svg(campaign: Campaign) -> str:
    """Six panels: two conditions by eight pairs, 24 pairs, and the naive rules.

    Raises:
        KeyError: the campaign lacks one of the two conditions.
    """
    width = _LEFT + 3 * _WIDE + 2 * _GAP_X + 20
    height = _TOP + 2 * _HIGH + _GAP_Y + _LEGEND
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="Power curves of {RULE_ID}">',
        f"<style>{_STYLE}</style>",
        _text(_LEFT, 22, f"{RULE_ID}: share of proposals against the true gain", "title"),
        *_panels(campaign),
        *_legend(height - _LEGEND + 70),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _panels(campaign: Campaign) -> Iterator[str]:
    for row, (condition, name) in enumerate(_ROWS):
        yield from _row(campaign, condition, name, row)


def _row(campaign: Campaign, condition: Condition, name: str, row: int) -> Iterator[str]:
    cells = [campaign.cell(condition.name, gain) for gain in sorted(condition.gains)]
    gains = [cell.gain for cell in cells]
    panels = (
        (f"up to {FIRST_LIMIT} pairs", _outcomes(cells, FIRST_LIMIT)),
        (f"continued to {LAST_LIMIT} pairs", _outcomes(cells, LAST_LIMIT)),
        ("accepted by other rules", _others(cells)),
    )
    y = _TOP + row * (_HIGH + _GAP_Y)
    yield _text(_LEFT, y - 28, name, "head")
    for column, (title, series) in enumerate(panels):
        x = _LEFT + column * (_WIDE + _GAP_X)
        yield from _panel(x, y, title, gains, series)


def _outcomes(cells: Sequence[Cell], limit: int) -> Series:
    tallies = [cell.first if limit == FIRST_LIMIT else cell.whole for cell in cells]
    columns = (
        [tally.accepted / tally.proposals for tally in tallies],
        [tally.unimproved / tally.proposals for tally in tallies],
        [(tally.noisy + tally.more) / tally.proposals for tally in tallies],
    )
    return list(zip(_OUTCOMES, columns, strict=True))


def _others(cells: Sequence[Cell]) -> Series:
    return [
        (line, [cell.others[name] / cell.first.proposals for cell in cells]) for name, line in _NAIVE.items()
    ]


def _panel(x: float, y: float, title: str, gains: Sequence[float], series: Series) -> Iterator[str]:
    low, high = min(gains), max(gains)

    def across(gain: float) -> float:
        return x + _WIDE * (gain - low) / (high - low)

    def down(share: float) -> float:
        return y + _HIGH * (1 - share)

    yield _text(x, y - 9, title)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        yield _grid(x, down(share), x + _WIDE, down(share))
        yield _text(x - 6, down(share) + 4, f"{share:.0%}", anchor="end")
    for gain in range(int(low), int(high) + 1):
        yield _grid(across(gain), y, across(gain), y + _HIGH)
        yield _text(across(gain), y + _HIGH + 16, f"{gain}s", anchor="middle")
    yield _text(x + _WIDE / 2, y + _HIGH + 32, "true gain, in s", anchor="middle")
    yield f'<rect class="frame" x="{x}" y="{y}" width="{_WIDE}" height="{_HIGH}"/>'
    for line, shares in series:
        points = " ".join(
            f"{across(gain):.1f},{down(share):.1f}" for gain, share in zip(gains, shares, strict=True)
        )
        yield f'<polyline class="curve" {line.style()} points="{points}"/>'


def _grid(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="grid" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _legend(y: float) -> Iterator[str]:
    for row, lines in enumerate((_OUTCOMES, tuple(_NAIVE.values()))):
        x = float(_LEFT)
        for line in lines:
            level = y + 22 * row
            yield f'<path class="curve" {line.style()} d="M{x:.0f} {level - 4:.0f}h28"/>'
            yield _text(x + 34, level, line.name)
            x += 62 + 6.2 * len(line.name)


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    shown = f' class="{kind}"' if kind else ""
    return f'<text{shown} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
