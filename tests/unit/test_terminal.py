"""What the commands say, in which there may be anybody's words."""

import pytest

from streams.operate.console import make_console
from streams.terminal import tell


def test_no_words_of_others_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    tell("redriven by al\x1b[2J\x1b[31mice\nand more\u202e")
    assert capsys.readouterr().err == "robot-orchestrator: redriven by al\\x1b[2J\\x1b[31mice\nand more\\u202e\n"


def test_an_id_is_printed_as_it_is_whatever_it_looks_like(capsys: pytest.CaptureFixture[str]) -> None:
    make_console().print("jobs resubmit order:key:21 --workspace [bold]", markup=False, soft_wrap=True)
    assert capsys.readouterr().out == "jobs resubmit order:key:21 --workspace [bold]\n"
