"""What the commands say, in which there may be anybody's words."""

import pytest

from streams.terminal import tell


def test_no_words_of_others_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    tell("redriven by al\x1b[2J\x1b[31mice\nand more\u202e")
    assert capsys.readouterr().err == "robot-orchestrator: redriven by al\\x1b[2J\\x1b[31mice\nand more\\u202e\n"
