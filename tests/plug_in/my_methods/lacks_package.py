"""A method whose file can be read, but not imported."""

import a_package_that_is_not_installed  # noqa: F401

INFO = {"title": "Lacks a package", "citation": "none", "year": 2026, "family": "plug-in", "based_on": "nothing"}
