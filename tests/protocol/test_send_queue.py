"""The queue over days, under a clock that is moved; what the administrator does to many."""
import os
import smtplib
import struct
import tempfile

import pytest

from send_world import World

DAY = 86400


class Clock:
    def __init__(self):
        handle, self.path = tempfile.mkstemp(prefix="mailstead-clock-")
        os.write(handle, struct.pack("=q", 0))
        os.close(handle)
        os.chmod(self.path, 0o644)  # the programs only look


@pytest.fixture(scope="module")
def world():
    made = World()
    made.clock = Clock()
    made.box.env = {"MAILSTEAD_CLOCK": made.clock.path}
    made.box.settings.update({"retry.schedule": "1m, 5m, 15m, 30m, 1h, 2h, 4h"})
    with made:
        yield made
    os.unlink(made.clock.path)


@pytest.fixture(autouse=True)
def settled(world):
    yield
    world.inbox()


def advance(world, seconds):
    done = world.box.run_ctl("clock", "advance", str(max(0, int(seconds))))
    assert done.returncode == 0, done.stderr


def tried(world, domain, tries):
    """The row of the only recipient there, once so many attempts have ended."""
    return world.wait(lambda: [r for r in world.queue(domain)
                               if r["tries"] == tries and r["reply"]])[0]


def live(world, domain, row):
    """Attempts until nothing waits any more: the seconds from one to the next."""
    steps, now = [], row["arrival"]
    while True:
        steps.append(row["next"] - now)
        now = row["next"]
        advance(world, steps[-1])
        before = row["tries"]
        left = world.wait(lambda: [r for r in world.queue(domain) if r["tries"] > before and
                                   r["state"] == "waiting"] or
                          (not world.queue(domain) and [None]))
        if left[0] is None:
            return steps
        row = left[0]


def test_the_whole_life_of_a_message(world):
    """0, 1 m, 5 m, 15 m, 30 m, 1 h, 2 h, then every 4 h more or less; after 4 h the sender hears of
    it, after 5 days it comes back."""
    domain, _ = world.domain(None)
    world.submit(f"bob@{domain}")
    steps = live(world, domain, tried(world, domain, 1))
    fixed = [60, 300, 900, 1800, 3600, 7200]
    assert all(abs(a - b) <= 8 for a, b in zip(steps, fixed))
    assert all(0.9 * 14400 - 8 <= s <= 1.1 * 14400 + 8 for s in steps[6:])
    assert 34 <= len(steps) + 1 <= 41 and 5 * DAY - 16000 <= sum(steps) <= 5 * DAY + 16000
    came = []

    def both():
        came.extend(world.inbox())
        return len(came) == 2
    world.wait(both)
    actions = [list(m.iter_parts())[1].get_payload()[1]["Action"] for m in came]
    assert sorted(actions) == ["delayed", "failed"]


def test_a_bounce_that_cannot_be_delivered_goes_to_postmaster_once(world):
    """Mail without a sender lives two days; then the postmaster hears of it, and nobody else."""
    world.box.add_account("gone@example.test")
    domain, (sink,) = world.domain({"replies": {"RCPT": "550 5.1.1 no such user"}})
    back, _ = world.domain(None)
    world.box.ctl("alias", "add", "postmaster@example.test", "alice@example.test")
    # A stranger's message through an alias that leads elsewhere, where it is refused.
    world.box.ctl("alias", "add", "list@example.test", f"bob@{domain}")
    with smtplib.SMTP("127.0.0.1", world.box.ports["smtp"]) as client:
        client.sendmail(f"stranger@{back}", ["list@example.test"], "Subject: x\r\n\r\nhello\r\n")
    row = tried(world, back, 1)
    assert row["sender"] == ""
    steps = live(world, back, row)
    assert 2 * DAY - 16000 <= sum(steps) <= 2 * DAY + 16000
    world.last = (back,)
    message, fields = world.bounce()
    assert "cannot be told" in message.as_string() and fields[0]["Action"] == "failed"
    world.wait(lambda: not world.box.ctl("queue", "list"))


def test_strangers_are_not_told_that_it_takes_long(world):
    domain, _ = world.domain(None)
    world.box.ctl("alias", "add", "slow@example.test", f"bob@{domain}")
    with smtplib.SMTP("127.0.0.1", world.box.ports["smtp"]) as client:
        client.sendmail(f"stranger@{domain}", ["slow@example.test"], "Subject: x\r\n\r\nhello\r\n")
    tried(world, domain, 1)
    advance(world, 5 * 3600)
    row = tried(world, domain, 2)
    assert not [r for r in world.queue(domain) if r["sender"] == ""]
    world.box.ctl("queue", "delete", row["id"])


# --- what the administrator does ---------------------------------------------------------------
def test_a_domain_at_once(world):
    one, (sink,) = world.domain({"replies": {"CONNECT": "421 no"}})
    other, _ = world.domain(None)
    for i in range(5):
        world.submit(*[f"r{i}-{k}@{one}" for k in range(100)])
    world.submit(f"bob@{other}")
    world.wait(lambda: all(r["tries"] for r in world.queue(one)) and len(world.queue(one)) == 500)
    said = world.box.run_ctl("queue", "hold", "domain", one.upper())
    assert said.returncode == 0 and b"500 recipients" in said.stdout + said.stderr
    world.wait(lambda: {r["state"] for r in world.queue(one)} == {"held"})
    assert world.queue(other)[0]["state"] == "waiting"
    sink.replies.clear()
    world.box.ctl("queue", "release", "domain", one)
    world.wait(lambda: sum(len(m.recipients) for m in sink.messages) == 500, 60)
    world.box.ctl("queue", "return", "all")
    world.last = (other,)
    _, fields = world.bounce()
    assert fields[0]["Status"] == "5.7.0"
    world.wait(lambda: not world.box.ctl("queue", "list"))


def test_delete_a_domain(world):
    dead, _ = world.domain(None)
    for i in range(3):
        world.submit(*[f"r{i}-{k}@{dead}" for k in range(200)], text="Subject: x\r\n\r\n" + "\r\n".join(
            os.urandom(40).hex() for _ in range(2000)))
    world.box.ctl("queue", "delete", "domain", dead)
    assert not world.queue(dead)
    files = [name for _, _, names in os.walk(f"{world.box.state}/queue/blob") for name in names]
    assert not files and not world.inbox()


@pytest.mark.parametrize("which", ["all", "one"])
def test_pause_and_resume(world, which):
    domain, (sink,) = world.domain({})
    other, (second,) = world.domain({})
    words = [domain] if which == "one" else []
    world.box.ctl("queue", "pause", *words)
    assert world.box.ctl("queue", "paused", "list") == [{"paused": domain if words else "all"}]
    world.submit(f"bob@{domain}")
    world.submit(f"bob@{other}")
    world.submit("alice@example.test")
    world.wait(world.inbox)  # local delivery goes on
    if which == "one":
        world.wait(lambda: second.messages)
    assert world.queue(domain)[0]["tries"] == 0 and not sink.messages
    pid = world.box.kill("smtpd-send")
    world.wait(lambda: world.box.pids().get("smtpd-send") not in (None, pid))
    world.box.ctl("queue", "retry", "domain", domain)
    assert world.queue(domain)[0]["tries"] == 0 and not sink.messages
    world.box.ctl("queue", "resume", *words)
    world.wait(lambda: sink.messages and second.messages)
    assert world.box.ctl("queue", "paused", "list") == []


def test_history_says_what_became_of_it(world):
    domain, (sink,) = world.domain({"replies": {"RCPT": ["451 4.7.1 later"]}})
    world.submit(f"bob@{domain}")
    tried(world, domain, 1)
    world.box.ctl("queue", "retry", "domain", domain)
    world.wait(lambda: sink.messages)
    world.wait(lambda: not world.queue(domain))
    events = [r["event"] for r in world.box.ctl("trace", f"bob@{domain}")]
    assert events == ["sent", "deferred", "accepted"]
    # Thirty days later it goes, with what is written then.
    advance(world, 31 * DAY)

    def has_gone():
        world.submit(*[f"eve{i}@{domain}" for i in range(90)])
        return not world.box.ctl("trace", f"bob@{domain}")
    world.wait(has_gone)


def test_bad_queue_commands(world):
    for words in (["hold"], ["hold", "domain"], ["hold", "x"], ["pause", "a", "b"], ["what", "all"]):
        assert world.box.run_ctl("queue", *words).returncode == 1
