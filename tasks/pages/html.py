"""A page that needs nothing but itself: a verdict, drawings, and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

Told = Mapping[str, str]
"""A row for a person, by column."""


class Section(NamedTuple):
    """A table with its title, and what a reader must know of it."""

    title: str
    rows: Sequence[Told]
    note: str = ""


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:80rem;margin:2rem auto;padding:0 1rem;color:#222;
background:#fff}
table{border-collapse:collapse;font-size:.85rem;margin:1rem 0}td,th{padding:.2rem .6rem;border-bottom:1px solid #ddd;
text-align:right}td:first-child,th:first-child{text-align:left}.short{white-space:nowrap}div{overflow-x:auto}
svg{max-width:100%;height:auto}</style></head><body>
<h1>{{ title }}</h1><p><strong>{{ verdict }}</strong></p>{{ first|safe }}
{% for section in sections %}<h2>{{ section.title }}</h2>{% if section.note %}<p>{{ section.note }}</p>{% endif %}
{% if section.rows %}<div><table>
<tr>{% for head in section.rows[0] %}<th>{{ head }}</th>{% endfor %}</tr>
{% for row in section.rows %}<tr>{% for cell in row.values() %}
<td{% if cell|length < 36 %} class="short"{% endif %}>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table></div>{% endif %}{% endfor %}
{% for drawn in others %}{{ drawn|safe }}{% endfor %}
</body></html>
"""


def html(title: str, verdict: str, drawings: Sequence[bytes], sections: Sequence[Section]) -> str:
    """The page: its verdict and the first drawing (SVG), then the tables, then the other drawings."""
    from jinja2 import Environment

    first, *others = (drawn.decode().split("?>", 1)[-1] for drawn in drawings)
    page = Environment(autoescape=True).from_string(_PAGE)
    return page.render(title=title, verdict=verdict, first=first, others=others, sections=sections)
