"""What file names mean, by the conventions that Python projects keep."""

from __future__ import annotations

from pathlib import PurePosixPath

__all__ = ["is_junk", "is_python", "is_test", "media_type"]

# Made by tools, not by people: left out of a plain folder, where no list of ignored files says so.
_JUNK = frozenset(
    {
        ".bzr",
        ".cache",
        ".eggs",
        ".git",
        ".hg",
        ".hypothesis",
        ".mypy_cache",
        ".nox",
        ".pytest_cache",
        ".ruff_cache",
        ".svn",
        ".tox",
        ".venv",
        "__pycache__",
        "__pypackages__",
        "coterie-review",
        "node_modules",
        "site-packages",
    }
)
_JUNK_SUFFIXES = (".egg-info", ".pyc", ".pyo")
_TEST_FOLDERS = frozenset({"test", "tests"})
_PYTHON = (".py", ".pyi", ".pyw")

# Fixed here rather than asked of the machine, whose tables differ.
_MEDIA_TYPES = {
    ".cfg": "text/plain",
    ".css": "text/css",
    ".csv": "text/csv",
    ".html": "text/html",
    ".ini": "text/plain",
    ".js": "text/javascript",
    ".json": "application/json",
    ".md": "text/markdown",
    ".py": "text/x-python",
    ".pyi": "text/x-python",
    ".pyw": "text/x-python",
    ".rst": "text/x-rst",
    ".sh": "text/x-shellscript",
    ".svg": "image/svg+xml",
    ".toml": "application/toml",
    ".txt": "text/plain",
    ".xml": "application/xml",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}


def is_junk(name: str) -> bool:
    """Whether a file or folder of this name is a tool's: caches, environments, version control."""
    return name in _JUNK or name.endswith(_JUNK_SUFFIXES)


def is_python(path: str) -> bool:
    """Whether the path names Python source, type stubs included."""
    return path.endswith(_PYTHON)


def is_test(path: str) -> bool:
    """Whether the path belongs to tests: `test_*.py`, `*_test.py`, `conftest.py`, or below `tests/`."""
    pure = PurePosixPath(path)
    stem = pure.stem
    named = stem.startswith("test_") or stem.endswith("_test") or stem == "conftest"
    return named or any(part in _TEST_FOLDERS for part in pure.parts[:-1])


def media_type(path: str, data: bytes) -> str:
    """By the suffix, else text or bytes by the content."""
    known = _MEDIA_TYPES.get(PurePosixPath(path).suffix.lower())
    if known is not None:
        return known
    return "application/octet-stream" if b"\0" in data[:8192] else "text/plain"
