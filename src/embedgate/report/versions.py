"""Versions of libraries that a report names, held against those here. Of one library, it may name several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import metadata, requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from embedgate.core.machine import library_versions
from embedgate.report.facts import names_in


def out_of_range(libraries: Mapping[str, str]) -> Iterator[str]:
    """Versions outside the ranges that the installed embedgate asks for, with the range."""
    extras = ("", *(metadata("embedgate").get_all("Provides-Extra") or ()))
    known = {canonicalize_name(name): names_in(versions) for name, versions in libraries.items()}
    for text in requires("embedgate") or ():
        wanted = Requirement(text)
        if wanted.marker and not any(wanted.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        for version in known.get(canonicalize_name(wanted.name), ()):
            if not wanted.specifier.contains(version, prereleases=True):
                yield f"{wanted.name} {version} (not {wanted.specifier})"


def other_versions(libraries: Mapping[str, str]) -> Iterator[str]:
    """One line about the libraries that have another version here."""
    here = library_versions(libraries)
    differ = [
        f"{name} {' and '.join(names_in(versions))} (here {here[name]})"
        for name, versions in libraries.items()
        if name in here and any(_public(each) != _public(here[name]) for each in names_in(versions))
    ]
    if differ:
        yield f"it was measured with {', '.join(differ)}"


def _public(version: str) -> str:
    """A version without its local part: `2.11.0+cu130` is 2.11.0."""
    try:
        return Version(version).public
    except InvalidVersion:
        return version
