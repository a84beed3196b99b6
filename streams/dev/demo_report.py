"""What the demo ends with: each job's fate and end, whether that is as it must be, and every broken promise."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from streams.core.job import JobKey
from streams.dev.demo_jobs import COMPLETED, POISON_STORY, Case
from streams.dev.history import History, Post
from streams.dev.violations import Violation
from streams.names import DeadLetterReason, Topic

# Each column with the least width that it keeps on a narrow terminal.
COLUMNS = {"job": 8, "what happened": 8, "POSTs": 5, "outcome": 9, "why": 8, "beside it": 9, "as expected": 11}
WIDTH_WITH_STORY = 118
# Of an id that was made, as much as tells it from the others.
ID_SHOWN = 18


class Line(NamedTuple):
    """A job in the final table."""

    job_id: str
    story: str
    posts: int
    outcome: str
    why: str
    beside: str
    as_expected: bool


def report(
    console: Console,
    cases: Sequence[Case],
    history: History,
    posts: Sequence[Post],
    violations: Sequence[Violation],
) -> bool:
    """Print the final table and the checker's verdict; return whether all is as it must be."""
    lines = _lines(cases, history, posts)
    console.print()
    console.print(_table(lines, console.width))
    surprises = sum(not line.as_expected for line in lines)
    records = sum(len(records) for records in history.records.values())
    console.print(f"Checked {records} records of {len(history.records)} topics and {len(posts)} POSTs to the robot:")
    if surprises:
        console.print(f"  [red]✗[/] {surprises} of {len(lines)} did not end as they must")
    else:
        console.print(f"  [green]✓[/] each of the {len(lines)} ended as it must")
    for violation in violations:
        console.print(f"  [red]✗[/] {escape(str(violation))}")
    if not violations:
        console.print(
            "  [green]✓[/] no batch was handed to the robot twice: only calls that it refused were made again"
        )
        console.print("  [green]✓[/] each job has exactly one outcome")
        console.print("  [green]✓[/] every record is accounted for, and no secret is where it must not be")
    return not surprises and not violations


def _lines(cases: Sequence[Case], history: History, posts: Sequence[Post]) -> list[Line]:
    outcomes, posted, letters = history.outcomes(), Counter(post.key for post in posts), _letters(history)
    amended = history.values(Topic.AMENDED).keys()
    lines = [
        _line(case, outcomes.get(case.key, []), posted[case.key], letters[case.key], later=case.key in amended)
        for case in cases
    ]
    poison = letters[None]
    return [*lines, Line("-", POISON_STORY, 0, "-", "", " ".join(poison), poison == [DeadLetterReason.MALFORMED])]


def _line(case: Case, outcomes: Sequence[dict[str, Any]], posts: int, letters: Sequence[str], *, later: bool) -> Line:
    outcome = outcomes[0] if len(outcomes) == 1 else {"status": f"{len(outcomes)} outcomes"}
    if outcome["status"] == COMPLETED:
        why = f"{outcome['successCount']} done, {outcome['errorCount']} failed"
        counts = (outcome["successCount"], outcome["errorCount"])
        expected = case.ends == COMPLETED and counts == (case.counts or (case.orders, 0))
    else:
        why = " ".join(str(outcome[name]) for name in ("reason", "robotStatus") if outcome.get(name))
        expected = outcome.get("reason") == case.ends and outcome.get("robotStatus") == case.robot_status
    expected = expected and case.posts in (None, posts) and list(letters) == list(case.letters)
    beside = " ".join([*letters, *(["amended"] if later else [])])
    as_expected = expected and later == case.amended
    job_id = case.job_id if len(case.job_id) <= ID_SHOWN else f"{case.job_id[:ID_SHOWN]}…"
    return Line(job_id, case.story, posts, outcome["status"], why, beside, as_expected)


def _letters(history: History) -> dict[JobKey | None, list[str]]:
    """Return the reasons of the dead letters by job."""
    found: dict[JobKey | None, list[str]] = defaultdict(list)
    for key, reason in history.letters().values():
        found[key].append(reason)
    return found


def _table(lines: Sequence[Line], width: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name, min_width in COLUMNS.items():
        table.add_column(name, justify="right" if name == "POSTs" else "left", no_wrap=True, min_width=min_width)
    for line in lines:
        verdict = "[green]yes[/]" if line.as_expected else "[red]NO[/]"
        colour = {"completed": "green", "failed": "red"}.get(line.outcome, "default")
        outcome = f"[{colour}]{line.outcome}[/]"
        table.add_row(line.job_id, line.story, str(line.posts), outcome, line.why, line.beside, verdict)
    if width < WIDTH_WITH_STORY:
        # The job's name says as much in fewer words.
        del table.columns[1]
    return table
