"""Read Python source as the running interpreter does, and say in one line why it cannot be read."""

from __future__ import annotations

import ast
import io
import sys
import threading
import tokenize
import warnings
from collections.abc import Iterator, Mapping

from coterie.teams.code_review.finding import Problem

__all__ = ["PYTHON", "READING", "Unreadable", "decoded", "parse_all", "statements", "syntax_tree"]

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

# The filters for warnings belong to the process: whoever parses sets them, and takes turns.
READING = threading.RLock()

_LAYOUT = frozenset(
    {tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.ENDMARKER}
)


class Unreadable(Exception):
    """A file that cannot be judged; the message is the reason, without the file's name."""


def decoded(data: bytes) -> str:
    """The text of a UTF-8 file, without its byte order mark, lines ended by line feeds.

    Raises:
        Unreadable: not UTF-8, or it holds null bytes.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"not UTF-8 (byte {error.start})") from error
    if "\0" in text:
        raise Unreadable("holds null bytes")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def syntax_tree(text: str) -> ast.Module:
    """Parse a module.

    Raises:
        Unreadable: not Python as this interpreter knows it, or nested too deeply for it.
    """
    try:
        with READING, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except SyntaxError as error:
        raise Unreadable(f"does not parse as Python {PYTHON}: {error.msg} (line {error.lineno})") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise Unreadable(f"does not parse as Python {PYTHON}: {_too_deep(error)}") from error


def parse_all(texts: Mapping[str, str]) -> tuple[dict[str, ast.Module], list[Problem]]:
    """The syntax trees by path, in order, and the files that have none."""
    trees, problems = dict[str, ast.Module](), list[Problem]()
    for path, text in sorted(texts.items()):
        try:
            trees[path] = syntax_tree(text)
        except Unreadable as reason:
            problems.append(Problem(path, str(reason)))
    return trees, problems


def _too_deep(error: BaseException) -> str:
    """The reason in words: the interpreter's own depend on where the stack ended."""
    return "nested too deeply" if isinstance(error, (RecursionError, MemoryError)) else str(error)


def statements(text: str) -> Iterator[list[tokenize.TokenInfo]]:
    """The tokens of each logical line, in order, without comments and layout.

    Raises:
        Unreadable: the text breaks off inside a bracket, string or indentation.
    """
    line: list[tokenize.TokenInfo] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.NEWLINE:
                if line:
                    yield line
                line = []
            elif token.type not in _LAYOUT:
                line.append(token)
    except (tokenize.TokenError, SyntaxError) as error:
        raise Unreadable(f"does not parse as Python {PYTHON}: {error.args[0]}") from error
