"""Count the lines of a module, each once, in one pass over its tokens.

(radon's own count reads a statement again for each of its lines, which a long table makes quadratic.)
"""

from __future__ import annotations

import io
import tokenize
from dataclasses import dataclass

from coterie.teams.code_review.syntax import PYTHON, Unreadable

__all__ = ["Sizes", "count_lines"]

_LAYOUT = frozenset(
    {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.ENDMARKER}
)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Lines in all; with code; with a comment; of strings that stand alone (docstrings); blank."""

    lines: int
    code: int
    comments: int
    strings: int
    blank: int


def count_lines(text: str) -> Sizes:
    """Count a module's lines.

    Raises:
        Unreadable: the text breaks off inside a bracket, string or indentation.
    """
    code, comments, strings = set[int](), set[int](), set[int]()
    statement: list[tokenize.TokenInfo] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                comments.add(token.start[0])
            elif token.type == tokenize.NEWLINE:
                alone = len(statement) == 1 and statement[0].type == tokenize.STRING
                for part in statement:
                    (strings if alone else code).update(range(part.start[0], part.end[0] + 1))
                statement = []
            elif token.type not in _LAYOUT:
                statement.append(token)
    except (tokenize.TokenError, SyntaxError) as error:
        raise Unreadable(f"does not parse as Python {PYTHON}: {error.args[0]}") from error
    lines = text.count("\n") + (not text.endswith("\n") and text != "")
    blank = lines - len(code | comments | strings)
    return Sizes(lines, len(code), len(comments), len(strings - code), max(blank, 0))
