"""What the documents name is there: links, files, folders, targets of the Makefile."""

import re
from pathlib import PurePosixPath

import pytest

from tests.support.documents import CONTRIBUTING, DESIGN, DOCUMENTS, ROOT, Document, codes
from tests.unit.test_layers import FLOOR_OF, rooms

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.path)
def test_every_link_within_the_project_leads_somewhere(document: Document) -> None:
    for path, anchor in document.links():
        target = (ROOT / document.path).parent / path if path else ROOT / document.path
        assert target.exists(), path
        if anchor:
            assert anchor in Document(target.resolve().relative_to(ROOT).as_posix()).anchors, f"{path}#{anchor}"


def test_every_document_is_one_that_the_readme_links_to() -> None:
    documents = {path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"))}
    linked = {path for path, _ in DOCUMENTS[0].links()}
    assert documents - {"README.md"} <= linked
    assert documents <= {document.path for document in DOCUMENTS}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.path)
def test_every_file_that_a_document_names_is_there(document: Document) -> None:
    for span in (*document.code_spans(), *(word for block in document.blocks("") for word in block.text.split())):
        if re.fullmatch(r"(streams|tests|schemas|docs|deploy|\.ci)/[\w./-]+|[\w.-]+\.(lock|toml|yml)", span):
            assert (ROOT / span).exists() or list(ROOT.glob(f"streams/*/{span}")), span


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.path)
def test_every_target_that_a_document_names_is_one_of_the_makefile(document: Document) -> None:
    texts = [*document.code_spans(), *(block.text for block in document.blocks(""))]
    for text in texts:
        for target in re.findall(r"^make ([a-z-]+)", text, re.MULTILINE):
            assert target in TARGETS, target


def test_every_target_is_documented() -> None:
    assert {codes(row[0])[0].split()[1] for row in CONTRIBUTING.table("command")} == TARGETS


def test_every_folder_of_tests_is_on_the_map() -> None:
    folders = {
        f"tests/{path.name}" for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name[0] not in "_."
    }
    assert {code for row in CONTRIBUTING.table("tests") for code in codes(row[0])} == folders


def test_the_folders_are_those_of_the_program_and_in_the_order_of_their_imports() -> None:
    order = [PurePosixPath(code).stem for row in DESIGN.table("folder or file") for code in codes(row[0])]
    assert sorted(order) == rooms()
    assert [FLOOR_OF[room] for room in order] == sorted(FLOOR_OF[room] for room in order)


def test_every_file_of_the_engine_is_on_its_map() -> None:
    files = {path.name for path in (ROOT / "streams/engine").glob("[!_]*.py")}
    assert {code for row in DESIGN.table("file") for code in codes(row[0])} == files


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.path)
def test_no_document_names_a_path_of_one_machine(document: Document) -> None:
    assert not re.search(r"(?<![\w.])/(home|root|work|tmp|Users|opt)/", document.text)
