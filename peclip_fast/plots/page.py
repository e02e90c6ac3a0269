"""A page of headings, sentences, tables and pictures, as Markdown and as one HTML file."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #8884; text-align: left; }
th { border-bottom: 2px solid #888; vertical-align: bottom; }
.number { text-align: right; }
.ours td { background: #0072b222; font-weight: 600; }
img { max-width: 100%; background: white; }
.scroll { overflow-x: auto; }
"""


@dataclass(frozen=True)
class Heading:
    """A section's, or with level 1 the page's."""

    text: str
    level: int = 2

    def markdown(self) -> str:
        """The heading."""
        return f"{'#' * self.level} {self.text}"

    def html(self) -> str:
        """The heading."""
        return f"<h{self.level}>{escape(self.text)}</h{self.level}>"


@dataclass(frozen=True)
class Sentences:
    """A paragraph."""

    text: str

    def markdown(self) -> str:
        """The paragraph."""
        return _plain(self.text)

    def html(self) -> str:
        """The paragraph."""
        return f"<p>{escape(self.text)}</p>"


@dataclass(frozen=True)
class TableBlock:
    """A table.

    Args:
        caption: what it shows.
        columns: headings; the first column is text, the others are right-aligned if ``numbers``.
        rows: as many cells each as columns.
        ours: numbers of the rows that are set off.
        words: numbers of the columns, besides the first, that hold text.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    ours: Sequence[int] = ()
    words: Sequence[int] = ()

    def markdown(self) -> str:
        """The table below its caption."""
        rules = ["---" if self._text(i) else "--:" for i in range(len(self.columns))]
        lines = [self.columns, rules]
        for number, row in enumerate(self.rows):
            cells = [_plain(cell) for cell in row]
            lines.append([f"**{c}**" if c and number in self.ours else c for c in cells])
        drawn = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"*{_plain(self.caption)}*\n\n{drawn}"

    def html(self) -> str:
        """The table, which scrolls by itself where the window is narrow."""
        head = self._row(self.columns, "th", "")
        body = "\n".join(
            self._row(row, "td", ' class="ours"' if number in self.ours else "")
            for number, row in enumerate(self.rows)
        )
        caption = f"<caption>{escape(self.caption)}</caption>"
        return f'<div class="scroll"><table>{caption}\n{head}\n{body}\n</table></div>'

    def _text(self, column: int) -> bool:
        return column == 0 or column in self.words

    def _row(self, cells: Sequence[str], tag: str, look: str) -> str:
        drawn = []
        for i, cell in enumerate(cells):
            side = "" if self._text(i) else ' class="number"'
            drawn.append(f"<{tag}{side}>{escape(cell)}</{tag}>")
        return f"<tr{look}>{''.join(drawn)}</tr>"


@dataclass(frozen=True)
class Picture:
    """A PNG, next to the Markdown and inside the HTML.

    Args:
        file: its name.
        png: what is in it.
        words: what it shows.
    """

    file: str
    png: bytes
    words: str

    def markdown(self) -> str:
        """A link to the file."""
        return f"![{_plain(self.words)}]({self.file})"

    def html(self) -> str:
        """The picture itself."""
        data = base64.b64encode(self.png).decode()
        return f'<p><img alt="{escape(self.words)}" src="data:image/png;base64,{data}"></p>'


Block = Heading | Sentences | TableBlock | Picture


@dataclass(frozen=True)
class Extras:
    """What a page has besides its blocks.

    Args:
        style: further CSS.
        script: JavaScript that runs at the end.
        data: of the script, by the ids of their elements, each as text of a type, without a ``<``.
        policy: what the page may load, as a content security policy; anything unless given.
    """

    style: str = ""
    script: str = ""
    data: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    policy: str = ""


def as_markdown(blocks: Sequence[Block]) -> str:
    """The page as Markdown."""
    return "\n\n".join(block.markdown() for block in blocks) + "\n"


def as_html(title: str, blocks: Sequence[Block]) -> str:
    """The page as one HTML file that needs no other."""
    return html_page(title, "\n".join(block.html() for block in blocks), Extras())


def html_page(title: str, body: str, extras: Extras) -> str:
    """A page of that body, in HTML."""
    policy = extras.policy and (
        f'<meta http-equiv="Content-Security-Policy" content="{escape(extras.policy)}">\n'
    )
    scripts = "".join(
        f'<script type="{kind}" id="{name}">{text}</script>\n'
        for name, (kind, text) in extras.data.items()
    )
    scripts += f"<script>{extras.script}</script>\n" if extras.script else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"{policy}<title>{escape(title)}</title>\n<style>{_STYLE}{extras.style}</style></head>\n"
        f"<body>\n{body}\n{scripts}</body>\n</html>\n"
    )


def _plain(text: str) -> str:
    """Text that Markdown takes for nothing else."""
    for character in "\\|*_<>`":
        text = text.replace(character, f"\\{character}")
    return text
