"""Fixtures: one running appliance for the tests that share it, or one of a test's own."""
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "support"))

from appliance import Appliance  # noqa: E402
from imap_account import ImapAccount  # noqa: E402


@pytest.fixture(scope="session")
def appliance():
    with Appliance() as running:
        yield running


@pytest.fixture
def make_appliance():
    """make_appliance(settings={...}) starts one; all are stopped at the end of the test."""
    made = []

    def make(**kwargs):
        made.append(Appliance(**kwargs))
        return made[-1].__enter__()

    yield make
    for one in made:
        one.__exit__(None, None, None)


@pytest.fixture
def imap_account(appliance):
    """An account nobody else uses; open() gives a session."""
    account = ImapAccount(appliance)
    yield account
    account.close()
