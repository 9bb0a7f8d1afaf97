"""A small project with known faults: at least one for every reviewing agent, and files that cannot be read.

`write_seeded_repository(folder)` writes it; `EXPECTED` lists the findings that a review must show, `UNREAD` the
files that it must leave out and say so. `commit_all(folder)` makes a git repository of it, with the same commit
hash everywhere.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

__all__ = ["EXPECTED", "EXPECTED_WHEN_RUN", "FILES", "UNREAD", "Expected", "commit_all", "write_seeded_repository"]


class Expected(NamedTuple):
    """A finding, without its words."""

    agent: str
    rule: str
    path: str | None
    line: int | None


EXPECTED = (
    Expected("linter", "F401", "shop/orders.py", 3),
    Expected("linter", "B006", "shop/orders.py", 7),
    Expected("linter", "F821", "shop/orders.py", 9),
    Expected("linter", "invalid-syntax", "shop/broken.py", 4),
    Expected("security", "B602", "shop/backup.py", 9),
    Expected("security", "B301", "shop/backup.py", 14),
    Expected("analyzer", "complex-function", "shop/shipping.py", 4),
    Expected("analyzer", "duplicated-code", "shop/invoices.py", 4),
    Expected("analyzer", "import-cycle", "shop/addresses.py", 4),
    Expected("tester", "empty-test", "tests/test_orders.py", 15),
    Expected("tester", "unreached-module", "shop/shipping.py", 1),
    Expected("documenter", "undocumented-function", "shop/orders.py", 12),
    Expected("documenter", "missing-readme", None, None),
)
# Only when the tests are executed.
EXPECTED_WHEN_RUN = (Expected("tester", "failing-test", "tests/test_orders.py", 10),)

# Left out of the review of one file or of all: path and a part of the reason.
UNREAD = (
    ("shop/broken.py", "does not parse"),
    ("shop/latin.py", "not UTF-8"),
    ("shop/outside.py", "points outside"),
)

_REPEATED = '''
def total_of(lines: list[dict[str, int]], discount: int) -> int:
    """The sum to pay, in cents."""
    total = 0
    for line in lines:
        price = line["price"] * line["count"]
        if line["count"] > 10:
            price = price - price * discount // 100
        if price < 0:
            raise ValueError("a price is negative")
        total = total + price
    rounding = total % 5
    if rounding:
        total = total + 5 - rounding
    return total
'''

FILES: dict[str, str] = {
    "pyproject.toml": '[project]\nname = "shop"\nversion = "1.0"\n',
    "shop/__init__.py": '"""A shop with known faults."""\n',
    "shop/orders.py": '''"""Orders."""

import os

from shop import customers, invoices, receipts

def add_line(line: int, lines: list[int] = []) -> list[int]:
    """Append a line to an order."""
    lines.append(line + unknown_fee)
    return lines

def count(lines: list[int]) -> int:
    return len(lines)
''',
    "shop/backup.py": '''"""Backups."""

import pickle
import subprocess


def pack(name: str) -> None:
    """Pack a folder."""
    subprocess.run("tar cf backup.tar " + name, shell=True)


def read(data: bytes) -> object:
    """Read a backup."""
    return pickle.loads(data)
''',
    "shop/broken.py": '''"""This does not parse."""


def half(:
    pass
''',
    "shop/customers.py": '''"""Customers, who know their addresses."""

from shop.addresses import format_address


def greet(name: str) -> str:
    """A greeting with the address."""
    return f"Dear {name}, {format_address(name)}"
''',
    "shop/addresses.py": '''"""Addresses, which know their customers."""

from shop import backup
from shop.customers import greet


def format_address(name: str) -> str:
    """One line."""
    return f"{name}'s house, {backup.__name__}, {greet.__name__}"
''',
    "shop/invoices.py": '"""Invoices."""\n\n' + _REPEATED,
    "shop/receipts.py": '"""Receipts, made like invoices."""\n\nCURRENCY = "EUR"\n\n' + _REPEATED,
    "shop/shipping.py": '''"""Shipping, which nothing tests."""


def fee(country: str, weight: int, express: bool, gift: bool) -> int:
    """The fee in cents."""
    amount = 0
    if country == "AT":
        amount = 1
    elif country == "BE":
        amount = 2
    elif country == "CH":
        amount = 3
    elif country == "DE":
        amount = 4
    elif country == "ES":
        amount = 5
    elif country == "FR":
        amount = 6
    if weight > 10 and express:
        amount += 10
    if weight > 20 or gift:
        amount += 20
    for limit in (30, 40):
        if weight > limit:
            amount += limit
    return amount
''',
    "tests/test_orders.py": '''"""Orders, tested a little."""

from shop import invoices, receipts


def test_an_empty_invoice_costs_nothing():
    assert invoices.total_of([], 0) == 0


def test_a_receipt_is_never_rounded():
    total = receipts.total_of([{"price": 1, "count": 1}], 0)
    assert total == 1


def test_orders_are_counted():
    """Not written yet."""
''',
}


def write_seeded_repository(folder: Path) -> None:
    """Write the project below `folder`, an empty or new folder."""
    for path, text in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    (folder / "shop/latin.py").write_bytes('"""Für Übungen."""\n'.encode("latin-1"))
    (folder / "shop/outside.py").symlink_to("../../elsewhere.py")


def commit_all(folder: Path, message: str = "Everything") -> str:
    """Make `folder` a git repository if it is none, commit all files, and return the commit's hash.

    Names and times are fixed: equal files give equal hashes.
    """
    if not (folder / ".git").exists():
        _git(folder, "init", "--quiet", "--initial-branch=main")
    _git(folder, "add", "--all")
    _git(folder, "commit", "--quiet", "--allow-empty", f"--message={message}")
    return _git(folder, "rev-parse", "HEAD")


def _git(folder: Path, *arguments: str) -> str:
    fixed = {"NAME": "A Tester", "EMAIL": "tester@example.org", "DATE": "2024-01-01T00:00:00+0000"}
    people = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in fixed.items()}
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    isolated = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(
        ["git", "-c", "commit.gpgSign=false", *arguments],
        cwd=folder,
        env=env | people | isolated,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()
