"""
Processes that die and system calls that fail while clients go on: strace is attached to one
program, and at some call of some kind kills it or lets the call fail. Afterwards everything that
was acknowledged must be there, once; no fault of ours may have become a 5xx; and everything must
work again.
"""
import glob
import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import tempfile
import time

import replay
import scenarios
from ipc import Refused as AdminRefused
from judge import Inspector, judge
from ledger import Ledger, Now, Timeline
from wire import Admin, Gone, Imap, Pop3, Refused, Smtp

FAIL_MALLOC = os.path.join(replay.appliance.BUILD, "tests", "failmalloc.so")
SMTP = ("smtpd-receive", "smtpd-local", "authd")
WHO = {"certificate": ("keyd", "authd"), "rotation": ("keyd", "authd"), "undelete": ("authd", "imapd-worker"), "smtp_in": SMTP,
       "smtp_crowd": SMTP, "submission": SMTP, "administration": ("authd",),
       "sending": ("smtpd-send", "smtpd-send", "smtpd-local", "smtpd-receive"),
       "upgrade": ("authd", "smtpd", "smtpd-local", "smtpd-receive", "smtpd-send"),
       "pop3_quit": (*SMTP, "pop3d-worker", "imapd-worker")}  # else: imapd-worker
ALLOCATORS = ("smtpd-receive", "smtpd-local", "imapd-worker", "pop3d-worker", "authd")
# What each does on its way to an acknowledgement.
KILL_CALLS = ("pwrite64", "writev", "fdatasync", "fdatasync", "fsync", "renameat", "sendmsg",
              "openat", "write", "recvfrom", "epoll_wait", "futex", "read")
# Not write: most of them wake another thread through an eventfd, which cannot fail so. A full disk
# (below) is what writing bodies meets.
FAULTS = (("fdatasync", "EIO"), ("fsync", "EIO"), ("pwrite64", "EIO"), ("pwrite64", "ENOSPC"),
          ("writev", "EIO"), ("writev", "ENOSPC"), ("openat", "EMFILE"), ("openat", "EIO"),
          ("openat", "ENOSPC"), ("renameat", "EIO"), ("renameat", "ENOSPC"), ("mmap", "ENOMEM"), ("mkdirat", "ENOSPC"),
          ("unlinkat", "EIO"), ("sendmsg", "ECONNRESET"), ("recvfrom", "ECONNRESET"),
          ("recvfrom", "EINTR"), ("accept4", "EMFILE"), ("accept4", "ECONNABORTED"),
          ("lseek", "EIO"), ("read", "EIO"), ("connect", "ECONNREFUSED"),
          ("copy_file_range", "EIO"), ("copy_file_range", "ENOSPC"), ("munmap", "EINVAL"))


class Live:
    """An appliance that is hurt, and its ledger."""

    def __init__(self, seed, fail_malloc_in=None, state=None):
        self.mail = replay.Recorded(settings=replay.SETTINGS, listeners=replay.LISTENERS)
        if state:
            self.mail.state = state
        if fail_malloc_in:
            # The one folder that all programs may write to, and whoever they start.
            os.mkdir(f"{self.mail.folder}/run", 0o711)
            self.counter = f"{self.mail.folder}/run/counter"
            self.set_counter(0)
            os.chmod(self.counter, 0o666)  # programs run under uids of their own
            self.mail.env = {"LD_PRELOAD": FAIL_MALLOC,
                             "FAIL_MALLOC": f"{fail_malloc_in}:{self.counter}"}
        self.ledger = Ledger()
        self.run = scenarios.Run(self.mail, self.ledger, seed)
        self.run.patience = 8
        self.attached = 0  # odd while somebody may be hurt
        self.run.far.crashes = lambda: self.attached
        self.random = self.run.random
        self.inspector = Inspector(replay.INSPECT, (scenarios.PASSWORD, scenarios.OTHER))
        self.failures = []
        self.states = set()
        self.hit = set()
        self.doubled = 0  # of those that went elsewhere

    def __enter__(self):
        self.mail.__enter__()
        replay.begin(self.run)
        return self

    def __exit__(self, kind, value, trace):
        self.inspector.close()
        self.mail.__exit__(kind, value, trace)

    def set_counter(self, value):
        with open(self.counter, "wb") as file:
            file.write(struct.pack("=Q", value))

    def allocations_left(self):
        with open(self.counter, "rb") as file:
            return struct.unpack("=Q", file.read())[0]

    # --- hurting --------------------------------------------------------------------------------
    def attach(self, program, call, what, when):
        """strace with an injection; returns its process."""
        pid = self.mail.wait_for(lambda: self.mail.pids().get(program))
        self.attached += 1
        self.injections = f"{self.mail.folder}/injected"
        tracer = subprocess.Popen(
            ["strace", "-f", "-qq", "-o", self.injections, "-e", f"trace={call}",
             "-e", f"inject={call}:{what}:when={when}", "-p", str(pid)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

        def is_attached():
            try:
                with open(f"/proc/{pid}/status", encoding="ascii") as status:
                    return "TracerPid:\t0\n" not in status.read()
            except (FileNotFoundError, ProcessLookupError):
                return True  # killed already

        self.mail.wait_for(is_attached)
        return pid, tracer

    def detach(self, tracer):
        """True if anything was injected."""
        # Its end lets go of all threads; asking it to let go may wait for one that has died.
        if tracer.poll() is None:
            tracer.kill()
        tracer.wait(30)
        tracer.stderr.close()
        self.attached += 1
        with open(self.injections, encoding="ascii", errors="replace") as log:
            text = log.read()
        return "INJECTED" in text or "killed by SIGKILL" in text

    def step(self, name):
        """What clients do; they may be cut off. Replies that blame the client are failures."""
        try:
            scenarios.SCENARIOS[name](self.run)
            return True
        except (Gone, ConnectionError, TimeoutError, OSError):
            return False
        except AdminRefused:
            return False
        except Refused as refused:
            answer = refused.args[0]
            if re.match(rb"5\d\d", answer) and not answer.startswith((b"530", b"535")):
                self.failures.append((name, f"a fault of ours became {answer!r}"))
            return False

    # --- afterwards -----------------------------------------------------------------------------
    def is_serving(self):
        """All listeners answer, and logins work."""
        try:
            Smtp(self.mail.ports["smtp"]).close()
            for kind, listener in ((Imap, "imap-open"), (Pop3, "pop3-open")):
                kind(self.mail.ports[listener], scenarios.ALICE, scenarios.PASSWORD).close()
            return True
        except (Gone, Refused, OSError):
            return False

    def heal(self):
        """Waits until everything works again, and gives bob the password that steps use."""
        self.mail.wait_for(self.is_serving)

        def reset():
            try:
                admin = Admin(f"{self.mail.folder}/run/authd/admin.sock")
                begun, acked = admin.verb("account", "password", scenarios.BOB,
                                          secret=scenarios.PASSWORD)
            except (OSError, AdminRefused):
                return False
            self.ledger.write(("password", scenarios.BOB), scenarios.PASSWORD, begun, acked)
            admin.close()
            return True

        if len(self.ledger.may_be(("password", scenarios.BOB))) > 1 or \
                self.ledger.may_be(("password", scenarios.BOB)) != [scenarios.PASSWORD]:
            self.mail.wait_for(reset)

    def digest(self, folder):
        total = hashlib.blake2b(digest_size=16)
        for path, _, names in sorted(os.walk(folder)):
            for name in sorted(names):
                if name != "lock.mdb":
                    with open(os.path.join(path, name), "rb") as file:
                        total.update(os.path.join(path, name)[len(folder):].encode() + b"\0"
                                     + file.read())
        return total.digest()

    def look(self, label, is_settled=False, state=None):
        """Judges the disk while nothing runs. state: of another folder."""
        work = tempfile.mkdtemp(prefix="mailstead-live-", dir="/dev/shm")
        copy = os.path.join(work, "state")
        shutil.copytree(state or self.mail.state, copy, ignore=shutil.ignore_patterns("lock.mdb"))
        self.judge_folder(label, copy, is_settled=is_settled)
        shutil.rmtree(work, ignore_errors=True)

    def judge_folder(self, label, copy, timeline=None, is_settled=False):
        self.states.add(self.digest(copy))
        found = self.inspector.look(copy)
        files = {}
        for path in glob.glob(f"{copy}/conf/settings.conf") + glob.glob(f"{copy}/keys/*/*"):
            with open(path, "rb") as file:
                files[path[len(copy):]] = ("", file.read())
        settings = replay.settings_of(files.get("/conf/settings.conf", ("", b""))[1])
        wrong = judge(found, self.ledger, timeline or Timeline(self.ledger, Now()), 1,
                      {**settings, **replay.certificates_of(files)})
        if is_settled and not isinstance(found, str):
            waiting = [row for row in found["queue"] if not row["is_remote"]]
            if waiting:
                wrong.append(f"still in the queue: {waiting[:3]}")
        if wrong:
            self.failures.append((label, wrong[:5]))

    def settle(self):
        """A clean start: everything that waits is delivered."""
        if self.mail.process is None:
            self.mail.start_again()
        self.heal()
        asked = {}

        def is_empty():
            done = self.mail.run_ctl("queue", "list")
            if done.returncode != 0:
                return False
            left = [row for row in json.loads(done.stdout)
                    if row["recipient"].endswith(("@example.test", f"@{scenarios.FAR}"))]
            for row in left:
                # What was under way comes at its next time, which nobody waits for here. One that
                # is being tried just now does not hear it: it is told again.
                if time.monotonic() - asked.get(row["id"], 0) > 2 and row["tries"] > 0:
                    asked[row["id"]] = time.monotonic()
                    self.mail.run_ctl("queue", "retry", row["id"])
            return not left

        self.mail.wait_for(is_empty)
        self.mail.stop()
        self.look("settled", is_settled=True)
        self.look_far()
        self.mail.start_again()

    def look_far(self):
        """What was to go elsewhere has gone, at most once more for each crash on the way."""
        far = self.run.far
        wrong = list(far.wrong)
        for register in self.ledger.registers:
            if register[0] != "remote" or not register[1].endswith("@" + scenarios.FAR):
                continue
            times = far.taken.get(register[1:], [])
            was_taken = [w.acked for w in self.ledger.registers[register]][-1] is not None
            is_refused = any(w.value == ("notice",) for w in self.ledger.followed.get(register, []))
            if was_taken and not times and not is_refused:
                wrong.append(f"{register}: never came")
            crashes = (times[-1] + 1) // 2 - times[0] // 2 if times else 0
            if len(times) > 1 + crashes:
                wrong.append(f"{register}: came {len(times)} times, with {crashes} crashes")
            self.doubled += len(times) > 1
        if wrong:
            self.failures.append(("elsewhere", wrong[:5]))


def kills(live, count, names=tuple(scenarios.SCENARIOS)):
    """Kills: a program at a call; every second time everything else with it."""
    done = 0
    for turn in range(count * 4):
        if done >= count:
            break
        live.heal()
        name = live.random.choice(names)
        program = live.random.choice(WHO.get(name, ("imapd-worker",)))
        call, when = live.random.choice(KILL_CALLS), live.random.randint(1, 6)
        _, tracer = live.attach(program, call, "signal=KILL", when)
        live.step(name)
        if not live.detach(tracer):
            continue
        done += 1
        if turn % 2:
            live.mail.kill_all()
            live.look(f"{program} killed at {call} {when} in {name}")
            live.mail.start_again()
    live.settle()
    return done


def faults(live, count):
    """System calls that fail once, or from then on for a while."""
    done = 0
    names = [name for name in scenarios.SCENARIOS if name != "refused_append"]
    for _ in range(count * 4):
        if done >= count:
            break
        live.heal()
        name = live.random.choice(names)
        call, error = live.random.choice(FAULTS)
        program = live.random.choice(WHO.get(name, ("imapd-worker",)))
        first = live.random.randint(1, 6)
        when = live.random.choice((f"{first}", f"{first}", f"{first}..{first + 3}"))
        _, tracer = live.attach(program, call, f"error={error}", when)
        before = len(live.failures)
        live.step(name)
        if not live.detach(tracer):
            continue
        done += 1
        live.hit.add((program, call, error))
        if len(live.failures) > before:
            live.failures[-1] += (program, call, error, when)
        live.mail.stop()
        live.look(f"{program} {call} {error} {when} in {name}")
        live.mail.start_again()
    live.settle()
    return done


def allocations(live, program, count):
    """Each of the first allocations of a step fails once."""
    done = 0
    names = [name for name in scenarios.SCENARIOS
             if program in WHO.get(name, ("imapd-worker",)) and name != "refused_append"]
    for turn in range(1, count + 1):
        live.heal()
        name = names[turn % len(names)]
        nth = live.random.randint(1, 30 * turn)
        with open(live.counter, "r+b") as file:  # in place: it is mapped
            file.write(struct.pack("=Q", nth))
        live.step(name)
        done += live.allocations_left() == 0
        with open(live.counter, "r+b") as file:
            file.write(struct.pack("=Q", 0))
        live.mail.stop()
        live.look(f"{program} allocation {nth} fails in {name}")
        live.mail.start_again()
    live.settle()
    return done


# --- a disk of its own that is full -----------------------------------------------------------------
class Disk:
    """A small file system in memory; needs root."""

    def __init__(self, options):
        self.path = tempfile.mkdtemp(prefix="mailstead-disk-")
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", self.path], check=True)
        os.chmod(self.path, 0o755)

    def fill_bytes(self):
        with open(f"{self.path}/filler", "wb", buffering=0) as filler:
            for piece in (65536, 1):
                try:
                    while True:
                        filler.write(b"x" * piece)
                except OSError:
                    pass

    def fill_inodes(self):
        os.mkdir(f"{self.path}/fillers")
        try:
            for number in range(1_000_000):
                with open(f"{self.path}/fillers/{number}", "wb"):
                    pass
        except OSError:
            pass

    def empty(self):
        shutil.rmtree(f"{self.path}/fillers", ignore_errors=True)
        if os.path.exists(f"{self.path}/filler"):
            os.unlink(f"{self.path}/filler")

    def close(self):
        subprocess.run(["umount", "-l", self.path], check=False)
        os.rmdir(self.path)


def full_disk(seed, what):
    """Full and back: nothing false is said, what only reads or removes works, and all of it at once
    when there is room again. Returns the Live, for its failures and states."""
    disk = Disk("size=64m,nr_inodes=3000")
    try:
        with Live(seed, state=f"{disk.path}/state") as live:
            session, number = live.run.imap(), live.run.number(scenarios.ALICE)
            box = live.run.new_mailbox(session)
            tokens = [live.run.append(session, box, size=scenarios.LARGE if i % 3 == 0 else 0)
                      for i in range(6)]
            live.step("submission")
            stuck = live.mail.ctl("queue", "list")[0]["id"]
            (disk.fill_bytes if what == "bytes" else disk.fill_inodes)()
            for name in ("smtp_in", "imap_append", "submission", "pop3_quit", "smtp_crowd"):
                live.step(name)
            uids = ",".join(str(uid) for _, uid in tokens[:3])
            session.command(f"SELECT {box}")
            session.command("UID FETCH 1:* BODY.PEEK[]")
            live.run.attempt(session, f"UID STORE {uids} +FLAGS.SILENT (\\Deleted)",
                             [(("flags", number, box, token), frozenset({"\\Deleted"}))
                              for token, _ in tokens[:3]])
            live.run.attempt(session, f"UID EXPUNGE {uids}",
                             [(("place", number, token), ()) for token, _ in tokens[:3]])
            session.close()
            done = live.mail.run_ctl("queue", "delete", stuck)
            if done.returncode != 0:
                live.failures.append(("full disk", f"queue delete: {done.stdout!r}"))
            for row in [r for r in live.ledger.registers if r[0] == "remote"]:
                live.ledger.registers[row][-1] = live.ledger.registers[row][-1]._replace(acked=None)
            disk.empty()
            back = time.monotonic()
            live.mail.wait_for(lambda: live.step("smtp_in") and live.step("imap_append"))
            if time.monotonic() - back > 5:
                live.failures.append(("full disk", f"back after {time.monotonic() - back:.1f} s"))
            live.settle()
            return live
    finally:
        disk.close()
