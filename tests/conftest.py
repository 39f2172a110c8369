"""What holds in every test."""

import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def nobody_waits_for_the_disk():
    """Files are not synced: no test cuts the power, and fabricated stores are many small files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield
