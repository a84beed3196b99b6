"""What is kept of an error page: what it says, and nothing of the machine behind it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.robot.pages import is_page, page_text

EXPRESS = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Error</title>
</head>
<body>
<pre>TypeError: ciudad.trim is not a function<br> &nbsp; &nbsp;at validate (/app/src/orders.js:10:5)<br> \
&nbsp; &nbsp;at Layer.handle [as handle_request] (/app/node_modules/express/lib/router/layer.js:95:5)</pre>
</body>
</html>
"""
NGINX = """<html>\r
<head><title>502 Bad Gateway</title></head>\r
<body>\r
<center><h1>502 Bad Gateway</h1></center>\r
<hr><center>nginx/1.25.3</center>\r
</body>\r
</html>\r
"""


@pytest.mark.parametrize(
    ("page", "text"),
    [
        (EXPRESS, "TypeError: ciudad.trim is not a function"),
        (NGINX, "502 Bad Gateway; nginx/1.25.3"),
        ("<html><body><h1>Oops</h1><p>No <b>order</b> 7 &amp; 8</p></body></html>", "Oops; No order 7 & 8"),
        ("<pre>Error: ENOENT, open '/srv/robot/data/x.json'</pre>", "Error: ENOENT, open '(path)'"),
        ("<pre>Error: open C:\\robot\\data\\x.json failed</pre>", "Error: open (path) failed"),
        ("<html><script>steal('/etc/passwd')</script><body>ok</body>", "ok"),
        ('<pre>Traceback (most recent call last):\n  File "/app/x.py", line 3</pre>', ""),
        ("<html><body>cut off in the mid", "cut off in the mid"),
        ("<html", "<html"),
    ],
)
def test_a_page_becomes_the_line_that_it_says(page: str, text: str) -> None:
    assert is_page(page)
    assert page_text(page) == text


@pytest.mark.parametrize("text", ["", "busy", '{"error": "<html>"}', "a <b> c", "<xml/>"])
def test_what_is_no_page_is_not_taken_for_one(text: str) -> None:
    assert not is_page(text)


MARKUP = ["<![", "<!", "<?", "</", "<a b='", "<p", ">", "]]>", "--", "&", "&#"]
TOKENS = [*MARKUP, ";", "x", " ", "9", '"', "\n", "if", "/a/b"]


@given(st.lists(st.sampled_from(TOKENS) | st.text(max_size=3), max_size=60))
def test_whatever_comes_is_one_line(tokens: list[str]) -> None:
    assert len(page_text("".join(["<html>", *tokens])).splitlines()) <= 1


@pytest.mark.parametrize("odd", ["<![foo x", "<![ x", "<![9]", "<!x", "<?"])
def test_odd_markup_takes_nothing_from_what_stands_before_it(odd: str) -> None:
    assert page_text(f"<html><body><p>busy</p>{odd}").startswith("busy")
