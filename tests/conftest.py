"""What holds in every test."""

import os

import pytest
import torch
from threadpoolctl import threadpool_limits

from tests.guides import Shell


@pytest.fixture(scope="session", autouse=True)
def nobody_waits_for_the_disk():
    """Files are not synced: no test cuts the power, and fabricated stores are many small files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """On one thread, as cells are computed: tensors of a test are so small that threads cost more than they bring."""
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield


@pytest.fixture
def shell(tmp_path):
    """A shell at the root of a copy of the repository."""
    return Shell(tmp_path)
