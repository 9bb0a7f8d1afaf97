"""What may be named as a source, and what a refusal says."""

from __future__ import annotations

from pathlib import Path

import pytest

from coterie.teams.code_review import plan
from coterie.teams.code_review.errors import CredentialsInURL, MissingSource, UnknownRevision, UnsupportedURL
from coterie.teams.code_review.location import Folder, Remote, check_revision, read_source


def test_a_folder_is_a_source_known_by_its_last_part(tmp_path: Path):
    found = read_source(str(tmp_path))

    assert isinstance(found, Folder)
    assert found.name == tmp_path.name


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("https://example.org/team/shop.git", "https://example.org/team/shop.git"),
        ("https://example.org:8443/shop", "https://example.org:8443/shop"),
        ("ssh://git@example.org/team/shop.git", "ssh://example.org/team/shop.git"),
        ("git@example.org:team/shop.git", "ssh://example.org/team/shop.git"),
        ("git://example.org/shop", "git://example.org/shop"),
        ("file:///srv/git/shop.git", "shop.git"),
    ],
)
def test_an_address_is_shown_without_users_and_places(source: str, name: str):
    assert read_source(source) == Remote(source, name)


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("file:///srv/git/shop.git", "file:///srv/git/shop.git"),
        ("git@example.org:team/shop.git", "ssh://example.org/team/shop.git"),
    ],
)
def test_a_place_is_whole_on_this_machine_and_names_no_user(source: str, place: str):
    found = read_source(source)

    assert isinstance(found, Remote)
    assert found.place == place


@pytest.mark.parametrize("source", ["/no/such/folder", "nowhere", "", " ", "a\nb"])
def test_what_is_not_there_is_refused(source: str):
    with pytest.raises(MissingSource):
        read_source(source)


def test_a_file_is_no_source(tmp_path: Path):
    (tmp_path / "module.py").touch()

    with pytest.raises(MissingSource, match="is not a folder"):
        read_source(str(tmp_path / "module.py"))


@pytest.mark.parametrize(
    "source",
    [
        "ext::sh -c 'touch /tmp/owned'",
        "fd::17",
        "ftp://example.org/shop",
        "javascript://example.org/x",
        "https:///shop",
        "https://example.org",
        "https://-oProxyCommand=touch/shop",
        "ssh://-oProxyCommand=touch/shop",
        "https://example.org:port/shop",
        "https://example.org/shop?ref=main",
    ],
)
def test_addresses_that_could_do_more_than_fetch_are_refused(source: str):
    with pytest.raises(UnsupportedURL):
        read_source(source)


def test_a_user_that_ssh_takes_for_an_option_is_refused():
    with pytest.raises(UnsupportedURL, match="option"):
        read_source("ssh://-oProxyCommand=x@example.org/shop")


SECRET = "hunter2secret"


@pytest.mark.parametrize(
    "source",
    [
        f"https://user:{SECRET}@example.org/shop",
        f"https://{SECRET}@example.org/shop",
        f"http://:{SECRET}@example.org/shop",
        f"ssh://git:{SECRET}@example.org/shop",
        f"https://user:{SECRET}/more@example.org/shop",
        f"https://user:x?{SECRET}@example.org/shop",
        f"https://user:x#{SECRET}@example.org/shop",
        f"https://example.org/shop?token={SECRET}",
        f"https://example.org/shop?token={SECRET}@here",
        f"ftp://user:{SECRET}@example.org/shop",
        f"ext::sh://user:{SECRET}@example.org",
        f"user:{SECRET}@example.org:shop.git",
    ],
)
def test_no_refusal_repeats_a_secret(source: str):
    with pytest.raises((CredentialsInURL, UnsupportedURL, MissingSource)) as refused:
        read_source(source)

    assert SECRET not in str(refused.value)
    assert SECRET not in repr(refused.value)


def test_a_plan_with_credentials_is_not_even_made():
    with pytest.raises(CredentialsInURL) as refused:
        plan(f"https://user:{SECRET}@example.org/shop")

    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("revision", ["main", "v1.0", "feature/new-thing", "1a2b3c4", "HEAD~2", "a" * 40])
def test_branches_tags_and_commits_are_revisions(revision: str):
    assert check_revision(revision, "shop") == revision


@pytest.mark.parametrize("revision", ["--upload-pack=touch", "-x", "a b", "a..b", "HEAD:file", "a\nb", "main@{1}", "*"])
def test_options_ranges_and_patterns_are_no_revisions(revision: str):
    with pytest.raises(UnknownRevision, match="branch, a tag or a commit"):
        check_revision(revision, "shop")


@pytest.mark.parametrize("source", ["~nobody-of-that-name/shop", "a" * 5000, "a/" * 3000])
def test_a_folder_that_cannot_be_is_missing(source: str):
    with pytest.raises(MissingSource, match="does not exist"):
        read_source(source)
