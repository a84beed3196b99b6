"""The project's documents: their tables, their blocks of code, their links and what links may lead to."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Block:
    """A fenced block of code: what stands behind its fence, and its lines."""

    language: str
    name: str
    text: str


@dataclass(frozen=True)
class Document:
    """A Markdown file, by its path from the project's folder."""

    path: str

    @cached_property
    def text(self) -> str:
        """All of it."""
        return (ROOT / self.path).read_text(encoding="utf-8")

    @cached_property
    def prose(self) -> str:
        """All of it but the blocks of code."""
        return re.sub(r"^```.*?^```$", "", self.text, flags=re.DOTALL | re.MULTILINE)

    def table(self, first_cell: str) -> list[list[str]]:
        """Return the rows of the only table whose head begins with a cell, without the head and its rule."""
        return self._table(first_cell)[2:]

    def head(self, first_cell: str) -> list[str]:
        """Return the head of that table."""
        return self._table(first_cell)[0]

    def _table(self, first_cell: str) -> list[list[str]]:
        heads = list(re.finditer(rf"^\| {re.escape(first_cell)} \|.*\n\|---", self.text, re.MULTILINE))
        assert len(heads) == 1, f"{self.path} has not one table that begins with {first_cell}"
        lines = self.text[heads[0].start() :].splitlines()
        end = next((i for i, line in enumerate(lines) if not line.startswith("|")), len(lines))
        return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines[:end]]

    def section(self, heading: str) -> str:
        """Return what stands below a heading of the second level."""
        (found,) = re.findall(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", self.text, re.DOTALL | re.MULTILINE)
        return str(found)

    def blocks(self, language: str) -> list[Block]:
        """Return the blocks of a language; a script's name is the first word of its first comment."""
        found = re.findall(r"^```(\w*) ?([^\n]*)\n(.*?)^```$", self.text, re.DOTALL | re.MULTILINE)
        return [Block(kind, name or _script_name(text), text) for kind, name, text in found if kind == language]

    def block(self, language: str, name: str) -> Block:
        """Return the one block of a language and a name."""
        (found,) = (block for block in self.blocks(language) if block.name == name)
        return found

    @cached_property
    def anchors(self) -> set[str]:
        """What a link may name behind a `#`, as GitHub makes it of the headings."""
        seen: Counter[str] = Counter()
        anchors = set()
        for heading in re.findall(r"^#{1,6} (.+)$", self.prose, re.MULTILINE):
            slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            anchors.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
        return anchors

    def links(self) -> Iterator[tuple[str, str]]:
        """Yield where each link within the project leads: a path, empty for this document, and an anchor or none."""
        for target in re.findall(r"\[[^\]]+\]\(([^)\s]+)\)", self.prose):
            if "://" not in target:
                path, _, anchor = target.partition("#")
                yield path, anchor

    def code_spans(self) -> list[str]:
        """Return what is set as code within the text."""
        return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", self.prose)]


def _script_name(text: str) -> str:
    found = re.match(r"(?:#|//) (\w+\.\w+)", text)
    return found[1] if found else ""


README = Document("README.md")
OPERATING = Document("docs/operating.md")
RECORDS = Document("docs/records.md")
DESIGN = Document("docs/design.md")
EVIDENCE = Document("docs/evidence.md")
SCALING = Document("docs/scaling.md")
CONTRIBUTING = Document("CONTRIBUTING.md")
CHANGELOG = Document("CHANGELOG.md")
HARDENING = Document("streams/faust_hardening/README.md")
DOCUMENTS = (README, OPERATING, RECORDS, DESIGN, EVIDENCE, SCALING, CONTRIBUTING, CHANGELOG, HARDENING)


def codes(cell: str) -> list[str]:
    """Return what is set as code in a cell."""
    return re.findall(r"`([^`]+)`", cell)
