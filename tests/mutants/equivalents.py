"""The mutants that are known to change nothing that is promised, each with the reason."""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.mutate import Mutant

FILE = Path(__file__).with_name("equivalent.toml")


@dataclass(frozen=True, slots=True)
class Equivalent:
    """One entry: it names the changed text rather than a line number, so that it survives edits elsewhere."""

    module: str
    where: str
    before: str
    after: str
    reason: str

    def fits(self, mutant: Mutant) -> bool:
        """Whether the entry is about this mutant."""
        same = (self.module, self.where, self.before, self.after)
        return same == (mutant.module, mutant.where, mutant.before, mutant.after)


def known(file: Path = FILE) -> list[Equivalent]:
    """Return the entries of the list. Raises TypeError for one that lacks something or has too much."""
    if not file.exists():
        return []
    entries = tomllib.loads(file.read_text(encoding="utf-8")).get("equivalent", [])
    return [Equivalent(**entry) for entry in entries]


def entry_of(mutant: Mutant) -> str:
    """Return what to put into the list for a mutant, but for the reason."""
    values = {"module": mutant.module, "where": mutant.where, "before": mutant.before, "after": mutant.after}
    lines = [f"{name} = '''{value}'''" for name, value in values.items()]
    return "\n".join(["[[equivalent]]", *lines, 'reason = ""', ""])


def unused(entries: Iterable[Equivalent], mutants: Iterable[Mutant]) -> list[Equivalent]:
    """Return the entries that no mutant fits: the code has changed."""
    made = list(mutants)
    return [entry for entry in entries if not any(entry.fits(mutant) for mutant in made)]
