"""20 sessions at once, at random, every answer checked (support/imap_stress.py)."""
import os
import random

from appliance import Appliance
from imap_stress import check_end, run_sessions

SECONDS = float(os.environ.get("MS_STRESS_SECONDS", "20"))
SEED = int(os.environ.get("MS_STRESS_SEED", random.randrange(1000000)))


def test_stress():
    """MS_STRESS_SECONDS makes it longer, MS_STRESS_SEED repeats its choices."""
    print(f"MS_STRESS_SEED={SEED}")
    with Appliance(listeners={"imap": {"login_without_tls": "yes"}}, accounts=("stress",)) as a:
        model = run_sessions(a, "stress@example.test", SEED, 20, SECONDS)
        check_end(model, a, "stress@example.test")
    print(f"{model.commands} commands, {len(model.tokens)} messages")
    assert model.commands > 100
