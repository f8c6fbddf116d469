"""Turns runs into a table, into ratios, and into a picture."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from statistics import median

from bench import contestants
from bench.plan import SCENARIOS, Scenario
from bench.scenarios import Outcome

BUSY_CLIENT = 0.8
STRANGERS = 0.1


@dataclass(frozen=True)
class Run:
    """One turn of one contestant."""

    scenario: str
    contestant: str
    outcome: Outcome


def values(runs: Iterable[Run], scenario: str, contestant: str, figure: str) -> list[float]:
    """Return a figure of all rounds."""
    return [
        run.outcome.figures[figure]
        for run in runs
        if (run.scenario, run.contestant) == (scenario, contestant)
        and figure in run.outcome.figures
    ]


def markdown(runs: Sequence[Run]) -> str:
    """Return a table for each scenario."""
    return "\n\n".join(
        "\n".join(_table(runs, scenario, names))
        for scenario in SCENARIOS
        if (names := _names(runs, scenario))
    )


def _names(runs: Sequence[Run], scenario: Scenario) -> list[str]:
    present = {run.contestant for run in runs if run.scenario == scenario.key}
    return [each.key for each in contestants.CONTESTANTS if each.key in present]


def _table(runs: Sequence[Run], scenario: Scenario, names: Sequence[str]) -> Iterable[str]:
    yield f"### {scenario.title}\n"
    # Many figures are lines, few are columns: either way it can be read.
    found = [outcome.figures for name in names for outcome in _of(runs, scenario.key, name)]
    columns = scenario.shown(dict.fromkeys(figure for each in found for figure in each))
    lines = [["", *(contestants.BY_KEY[name].name for name in names)]]
    lines += [
        [column, *(_cell(values(runs, scenario.key, name, column)) for name in names)]
        for column in columns
    ]
    if ratios := _ratios(runs, scenario, names):
        lines.append([f"{scenario.headline}, Beseda = 1", *ratios])
    lines.append(["answers", *(_answers(runs, scenario.key, name) for name in names)])
    lines.append(["load generator", *(_share(runs, scenario.key, name) for name in names)])
    lines.append(["other programs", *(_strangers(runs, scenario.key, name) for name in names)])
    head, *body = lines
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for line in body:
        yield "| " + " | ".join(line) + " |"


def _ratios(runs: Sequence[Run], scenario: Scenario, names: Sequence[str]) -> list[str]:
    ours = values(runs, scenario.key, "beseda", scenario.headline)
    if not ours or len(names) < 2:
        return []
    found = []
    for name in names:
        theirs = values(runs, scenario.key, name, scenario.headline)
        found.append(f"{median(theirs) / median(ours):.2f}" if theirs and median(ours) else "–")
    return found


def _cell(figures: Sequence[float]) -> str:
    if not figures:
        return "–"
    if len(figures) == 1:
        return number(figures[0])
    return f"{number(median(figures))} ({number(min(figures))}–{number(max(figures))})"


def number(value: float) -> str:
    """Return a number with three digits that count."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _of(runs: Sequence[Run], scenario: str, contestant: str) -> list[Outcome]:
    return [run.outcome for run in runs if (run.scenario, run.contestant) == (scenario, contestant)]


def _answers(runs: Sequence[Run], scenario: str, contestant: str) -> str:
    faults: Counter[str] = Counter()
    for outcome in _of(runs, scenario, contestant):
        faults.update(outcome.faults)
    return "; ".join(f"{times:,} {what}" for what, times in faults.items()) or "ok"


def _share(runs: Sequence[Run], scenario: str, contestant: str) -> str:
    share = max(each.client for each in _of(runs, scenario, contestant))
    return f"{100 * share:.0f} %" + (" (its limit)" if share > BUSY_CLIENT else "")


def _strangers(runs: Sequence[Run], scenario: str, contestant: str) -> str:
    share = max(each.strangers for each in _of(runs, scenario, contestant))
    return f"{100 * share:.0f} %" + (" (rates too low)" if share > STRANGERS else "")


# The picture

_WIDTH, _BAR, _GAP, _LEFT, _HEAD = 760, 20, 6, 220, 40
_OURS, _THEIRS = "#0b6e99", "#b9c4cc"


def svg(runs: Sequence[Run]) -> str:
    """Return bars of each scenario's headline."""
    parts = []
    top = 10
    for scenario in SCENARIOS:
        names = _names(runs, scenario)
        bars = [
            (name, median(found))
            for name in names
            if (found := values(runs, scenario.key, name, scenario.headline))
        ]
        if not bars:
            continue
        parts.append(_panel(scenario, bars, top))
        top += _HEAD + len(bars) * (_BAR + _GAP) + 16
    style = "font-family: system-ui, sans-serif; font-size: 13px"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{top}" '
        f'viewBox="0 0 {_WIDTH} {top}" style="{style}">\n'
        f'<rect width="{_WIDTH}" height="{top}" fill="white"/>\n' + "".join(parts) + "</svg>\n"
    )


def _panel(scenario: Scenario, bars: Sequence[tuple[str, float]], top: int) -> str:
    better = "more" if scenario.more_is_better else "less"
    title = escape(f"{scenario.title}: {scenario.headline} ({better} is better)")
    lines = [f'<text x="10" y="{top + 18}" font-weight="bold">{title}</text>\n']
    most = max(value for _, value in bars) or 1.0
    room = _WIDTH - _LEFT - 90
    for position, (name, value) in enumerate(bars):
        y = top + _HEAD - 8 + position * (_BAR + _GAP)
        length = max(1.0, room * value / most)
        label = escape(contestants.BY_KEY[name].name)
        colour = _OURS if name.startswith("beseda") else _THEIRS
        lines.append(
            f'<text x="{_LEFT - 8}" y="{y + 15}" text-anchor="end">{label}</text>'
            f'<rect x="{_LEFT}" y="{y}" width="{length:.1f}" height="{_BAR}" fill="{colour}"/>'
            f'<text x="{_LEFT + length + 6:.1f}" y="{y + 15}">{number(value)}</text>\n'
        )
    return "".join(lines)
