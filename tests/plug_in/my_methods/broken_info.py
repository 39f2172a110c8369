"""A method whose INFO is no literal."""

NAME = "Broken"
INFO = {"title": NAME, "citation": "none", "year": 2026, "family": "plug-in", "based_on": "nothing"}
