"""What became of hostile records, against what had to."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from streams.dev.history import History, Post, position
from streams.names import DLQ_OF, Header
from streams.wire.records import Headers, SourceRecord
from tests.support.hostile import COMPLETED, Hostile

Copies = dict[tuple[str, int, bytes | None, bytes | None, Headers], list[str]]


def account(
    written: Sequence[tuple[Hostile, str]], history: History, posts: Iterable[Post]
) -> tuple[Counter[str], list[str]]:
    """Return how many records met each fate, and a line for each that met another one than it had to.

    `written` says where each record lies, as dead letters name it.
    """
    letters = {_header(letter, Header.DLQ_ID): letter for topic in DLQ_OF.values() for letter in history.of(topic)}
    copies: Copies = defaultdict(list)
    for topic in DLQ_OF:
        for record in history.of(topic):
            copies[record.topic, record.partition, record.key, record.value, record.headers].append(position(record))
    outcomes = history.outcomes()
    posted = Counter(post.key for post in posts)
    fates: Counter[str] = Counter()
    problems = []
    for hostile, place in written:
        home = place
        if hostile.forward_to is not None:
            there = copies[hostile.topic, hostile.forward_to, hostile.key, hostile.value, hostile.headers]
            fates["forwarded"] += 1
            if place in letters or not there:
                problems.append(f"{hostile.kind} at {place}: was not forwarded")
                continue
            home = there[0]
        fate = _header(letters[home], Header.DLQ_REASON) if home in letters else "no letter"
        fates[fate] += 1
        problems += [f"{hostile.kind} at {place}: {text}" for text in _wrong(hostile, letters.get(home))]
        if hostile.job is not None:
            problems += [
                f"{hostile.kind} at {place}: {text}"
                for text in _wrong_job(hostile, outcomes.get(hostile.job, []), posted[hostile.job])
            ]
    return fates, problems


def _header(record: SourceRecord, name: str) -> str:
    return next((value or b"").decode() for header, value in record.headers if header == name)


def _wrong(hostile: Hostile, letter: SourceRecord | None) -> Iterator[str]:
    wanted = {reason.value for reason in hostile.letters}
    if letter is None:
        if wanted:
            yield f"no dead letter, not {wanted}"
        return
    reason = _header(letter, Header.DLQ_REASON)
    if reason not in wanted:
        yield f"a dead letter as {reason}, not {wanted or 'none'}"
    if hostile.whole and (letter.value, letter.key or None) != (hostile.value, hostile.key or None):
        yield "a dead letter with another key or value"
    if not hostile.whole and b'"originalBytes"' not in (letter.value or b""):
        yield "a dead letter that is not short"


def _wrong_job(hostile: Hostile, outcomes: Sequence[dict[str, object]], posts: int) -> Iterator[str]:
    found = [outcome.get("reason") or outcome["status"] for outcome in outcomes]
    if found != [hostile.outcome]:
        yield f"its job ended as {found}, not as {hostile.outcome}"
    if posts != int(hostile.outcome == COMPLETED):
        yield f"its job was POSTed {posts} times"
