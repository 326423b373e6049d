"""Markup that somebody else wrote, made harmless: an allow list, nothing else passes.

A notebook's output comes from a kernel and may be hostile. Scripts, styles, event handlers, frames and forms are
removed; a link leads only within the page; an image is only a raster or SVG that lies in the page itself (a browser
runs no script in an SVG shown as an image); classes are only those of node0's own tables and figures. The pages
carry a Content-Security-Policy as a second lock.

>>> clean('<p onclick="x()">a<script>steal()</script> <a href="http://127.0.0.1:9">b</a></p>')
'<p>a <a>b</a></p>'
"""

from __future__ import annotations

import re

from bleach import Cleaner  # type: ignore[import-untyped]

_TAGS = {
    "a", "b", "blockquote", "br", "caption", "code", "dd", "del", "div", "dl", "dt", "em", "figcaption", "figure",
    "h3", "h4", "h5", "h6", "hr", "i", "img", "li", "ol", "p", "pre", "s", "small", "span", "strong", "sub", "sup",
    "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul", "wbr",
}  # fmt: skip
_WITH_CONTENT = re.compile(r"<(script|style|iframe|object|template|noscript|title)\b.*?(</\1\s*>|\Z)", re.I | re.S)
_IMAGE = re.compile(r"data:image/(svg\+xml|png|jpeg|gif);base64,[A-Za-z0-9+/=\s]*")
_CLASSES = re.compile(r"(n0-[a-z-]+)( n0-[a-z-]+)*")
_PLAIN = {"alt", "title", "scope", "colspan", "rowspan", "start", "lang"}


def _allowed(tag: str, name: str, value: str) -> bool:
    if name == "src":
        return tag == "img" and _IMAGE.fullmatch(value) is not None
    if name == "href":
        return tag == "a" and value.startswith("#")
    if name == "class":
        return _CLASSES.fullmatch(value) is not None
    if name == "align":
        return tag == "div" and value == "left"
    return name in _PLAIN


_CLEANER = Cleaner(tags=_TAGS, attributes=_allowed, protocols={"data"}, strip=True, strip_comments=True)


def clean(html: str) -> str:
    """Return ``html`` with only what the allow list names."""
    return str(_CLEANER.clean(_WITH_CONTENT.sub("", html)))
