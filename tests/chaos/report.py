"""The table at the end of a run."""

from collections import Counter
from collections.abc import Sequence

from tests.chaos.round import Round


def table(rounds: Sequence[Round]) -> str:
    """Return fault, how often, jobs of the rounds it happened in, violations of these rounds."""
    times: Counter[str] = Counter()
    jobs: Counter[str] = Counter()
    violations: Counter[str] = Counter()
    for one in rounds:
        times.update(one.done)
        for name in one.done:
            jobs[name] += one.verdict.jobs
            violations[name] += len(one.verdict.violations)
    lines = [f"{'fault':<26}{'times':>7}{'jobs meanwhile':>16}{'violations':>12}"]
    lines += [f"{name:<26}{times[name]:>7}{jobs[name]:>16}{violations[name]:>12}" for name in sorted(times)]
    every = sum(len(one.verdict.violations) for one in rounds)
    lines.append(f"{'all':<26}{times.total():>7}{sum(one.verdict.jobs for one in rounds):>16}{every:>12}")
    return "\n".join([*lines, "", _details(rounds)])


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
