"""The table at the end of a run."""

from collections import Counter
from collections.abc import Sequence

from tests.chaos.faults import ALL
from tests.chaos.round import Round


def table(rounds: Sequence[Round]) -> str:
    """Return a Markdown table: fault, what was done, how often, jobs and violations of the rounds it happened in."""
    times: Counter[str] = Counter()
    jobs: Counter[str] = Counter()
    violations: Counter[str] = Counter()
    for one in rounds:
        times.update(one.done)
        for name in one.done:
            jobs[name] += one.verdict.jobs
            violations[name] += len(one.verdict.violations)
    lines = ["| fault | what was done | times | jobs meanwhile | violations |", "|---|---|---|---|---|"]
    for name, fault in ALL.items():
        if times[name]:
            lines.append(f"| {name} | {fault.what} | {times[name]} | {jobs[name]} | {violations[name]} |")
    every = sum(len(one.verdict.violations) for one in rounds)
    lines.append(f"| all | | {times.total()} | {sum(one.verdict.jobs for one in rounds)} | {every} |")
    return "\n".join([*lines, "", _details(rounds)])


def five_kills_line(rounds: Sequence[Round]) -> str:
    """Return what other systems are compared by, per round."""
    return "\n".join(
        f"{one.verdict.jobs} jobs, {sum(one.done.values())} kills: {one.verdict.resent} calls re-sent, "
        f"{one.verdict.lost} jobs lost, {one.verdict.finished_but_failed} finished jobs reported as failed"
        for one in rounds
    )


def _details(rounds: Sequence[Round]) -> str:
    exits: Counter[str] = Counter()
    sent: Counter[str] = Counter()
    for one in rounds:
        exits.update(one.exits)
        sent.update(one.sent)
    posts = sum(one.verdict.posts for one in rounds)
    seconds = sum(one.seconds for one in rounds)
    lines = [f"{len(rounds)} rounds in {seconds / 60:.1f} min, {posts} POSTs"]
    lines.append("published: " + ", ".join(f"{kind} {count}" for kind, count in sent.most_common()))
    lines.append("how workers ended:")
    lines += [f"    {count:>5}  {reason}" for reason, count in exits.most_common()]
    lost = sum(count for reason, count in exits.items() if "LostRecordsError" in reason)
    return "\n".join([*lines, f"of these, records lost on the way and read again after the restart: {lost}"])
