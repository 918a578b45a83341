"""
The commands that work on a whole state, cut off: each is run under strace, which kills whoever does
some system call for the nth time, and then again over what that left, until it goes through. At no
time may anything be missing that was acknowledged, and what a command keeps must be kept.
"""
import os
import shutil
import subprocess
import tempfile
import threading

import appliance
import live
import replay
import scenarios
from ledger import Timeline

# What each does to the disk, and (write, sendmsg) what it says.
CALLS = ("pwrite64", "write", "fsync", "fdatasync", "rename", "renameat", "renameat2", "link", "mkdir",
         "openat", "copy_file_range", "unlink", "unlinkat", "rmdir", "syncfs", "chmod", "sendmsg")
QUICK = ("smtp_in", "imap_append", "imap_expunge", "imap_copy_move", "imap_mailboxes", "undelete",
         "submission", "administration")
LATER = ("nobody", 1)  # the mark of something that has begun


def cut_off(hurt, *words):
    """Runs a command; True if somebody was killed."""
    call = hurt.random.choice(CALLS)
    when = hurt.random.choice((1, 2, 3, hurt.random.randint(1, 12), hurt.random.randint(1, 60)))
    log = f"{hurt.mail.folder}/cut"
    hurt.where = f"{words[0]} cut off at {call} {when}"
    subprocess.run(["strace", "-f", "-qq", "-o", log, "-e", f"trace=?{call}", "-e",
                    f"inject=?{call}:signal=KILL:when={when}", f"{appliance.BIN}/mailsteadctl", "-c",
                    hurt.mail.conf, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, check=False, timeout=120,
                   env={**os.environ, "MAILSTEAD_ALLOW_ROOT": "1"})
    with open(log, encoding="ascii", errors="replace") as text:
        return "killed by SIGKILL" in text.read()


def go_through(hurt, *words):
    """The same command, let alone: it must succeed over whatever is there."""
    done = hurt.mail.run_ctl(*words)
    if done.returncode != 0:
        hurt.failures.append((hurt.where, f"then {words}: {done.stdout[-300:]!r}"))
    return done.returncode == 0


def stop(hurt):
    """With nothing left in the queue that would be tried meanwhile."""
    hurt.heal()
    hurt.mail.stop()


# --- backup -----------------------------------------------------------------------------------------
def judge_generation(hurt, backup, name, ledger):
    """It has everything that was acknowledged when it was begun."""
    work = tempfile.mkdtemp(prefix="mailstead-live-", dir="/dev/shm")
    there = f"{backup}/generations/{name}"
    for source, target in ((f"{there}/store", "store/env"), (f"{there}/queue", "queue/env"),
                           (f"{there}/auth", "auth/env"), (f"{backup}/blob/store", "store/blob"),
                           (f"{backup}/blob/queue", "queue/blob"),
                           (f"{there}/state/conf", "conf"), (f"{there}/state/keys", "keys")):
        if os.path.exists(source):
            shutil.copytree(source, f"{work}/{target}")
    hurt.judge_folder(f"{hurt.where}: {name}", work, Timeline(ledger, live.Now()))
    shutil.rmtree(work, ignore_errors=True)


def names(backup):
    try:
        return {name for name in os.listdir(f"{backup}/generations") if name[0] != "."}
    except FileNotFoundError:
        return set()


def backups(hurt, count):
    """While clients go on: what has a name is whole."""
    backup = f"{hurt.mail.folder}/backup"
    done = 0
    for turn in range(count * 4):
        if done >= count:
            break
        hurt.heal()
        hurt.step(hurt.random.choice(QUICK))
        hurt.mail.wait_for(lambda: replay.clock() not in names(backup))
        before, acked = names(backup), hurt.ledger.mark()
        beside = threading.Thread(target=hurt.step, args=(hurt.random.choice(QUICK),))
        beside.start()
        is_hit = turn % 4 < 3 and cut_off(hurt, "backup", backup, "--keep=3")
        beside.join()
        for name in names(backup) - before:
            judge_generation(hurt, backup, name, hurt.ledger.as_of(acked))
        done += is_hit
    hurt.mail.wait_for(lambda: replay.clock() not in names(backup))
    go_through(hurt, "backup", backup, "--keep=2")
    left = [os.path.join(folder, name) for folder, folders, files in os.walk(backup)
            for name in folders + files if name[0] == "."]
    if left or len(names(backup)) > 2:
        hurt.failures.append(("backup", f"left over: {left[:5]} {names(backup)}"))
    hurt.settle()
    return done


# --- restore ----------------------------------------------------------------------------------------
def look_at_states(hurt):
    """The state that was there is somewhere, whole; and the one that says that it is whole is."""
    state = hurt.mail.state
    parent = os.path.dirname(state)
    found = [f"{parent}/{name}" for name in os.listdir(parent)
             if name.startswith(os.path.basename(state))]
    old = [path for path in found if os.path.exists(f"{path}/original")]
    if len(old) != 1 or os.path.exists(f"{old[0]}/restoring"):
        hurt.failures.append((hurt.where, f"the state of before is at {old}, of {found}"))
        return
    hurt.look(hurt.where, state=old[0])
    if old[0] != state and not os.path.exists(f"{state}/restoring"):
        hurt.look(hurt.where)


def restores(hurt, count):
    """Of everything: over a state that is moved aside, and over what was cut off before."""
    backup = f"{hurt.mail.folder}/backup"
    done = 0
    for _ in range(count * 4):
        if done >= count:
            break
        hurt.step(hurt.random.choice(QUICK))
        stop(hurt)
        shutil.rmtree(backup, ignore_errors=True)
        hurt.where = "restore"
        go_through(hurt, "backup", backup)
        with open(f"{hurt.mail.state}/original", "w", encoding="ascii"):
            pass
        for _ in range(hurt.random.randint(1, 3)):
            done += cut_off(hurt, "restore", backup, "--force")
            look_at_states(hurt)
        if go_through(hurt, "restore", backup, "--force"):
            look_at_states(hurt)
        parent, name = os.path.split(hurt.mail.state)
        for other in os.listdir(parent):
            if other.startswith(f"{name}."):
                shutil.rmtree(f"{parent}/{other}")
        hurt.mail.start_again()
        hurt.heal()
    hurt.settle()
    return done


def parts(hurt, count):
    """Of what one account has lost, into a running instance: each message once, whoever is killed."""
    backup = f"{hurt.mail.folder}/backup"
    number, done = hurt.run.number(scenarios.ALICE), 0
    for turn in range(count * 4):
        if done >= count:
            break
        hurt.heal()
        session = hurt.run.imap()
        box = hurt.run.new_mailbox(session)
        tokens = [hurt.run.append(session, box, size=scenarios.LARGE if i % 3 == 0 else 0)
                  for i in range(6)]
        shutil.rmtree(backup, ignore_errors=True)
        hurt.where = "restore of a mailbox"
        go_through(hurt, "backup", backup)
        session.command(f"SELECT {box}")
        lost = [token for token, _ in tokens[:hurt.random.randint(1, 6)]]
        uids = ",".join(str(uid) for token, uid in tokens if token in lost)
        session.command(f"UID STORE {uids} +FLAGS.SILENT (\\Deleted)")
        hurt.run.attempt(session, f"UID EXPUNGE {uids}",
                         [(("place", number, token), ()) for token in lost])
        session.close()
        words = ("restore", backup, scenarios.ALICE, f"--mailbox={box}")
        for token in lost:
            del hurt.ledger.registers["uid", number, box, token]  # it gets another one
            hurt.ledger.write(("place", number, token), (box,), LATER, None)
        for _ in range(hurt.random.randint(1, 3)):
            done += cut_off(hurt, *words)
        if turn % 2:
            hurt.mail.kill_all()
            hurt.look(hurt.where)
            hurt.mail.start_again()
            hurt.heal()
        if go_through(hurt, *words):
            for token in lost:
                hurt.ledger.write(("place", number, token), (box,), LATER, LATER)
    hurt.settle()
    return done


# --- recover, compact -------------------------------------------------------------------------------
def look_at_recovery(hurt, found):
    """Each database is the damaged one or a whole one, and the damaged one is kept."""
    with tempfile.TemporaryDirectory(prefix="mailstead-live-", dir="/dev/shm") as work:
        copy = f"{work}/state"
        shutil.copytree(hurt.mail.state, copy, ignore=shutil.ignore_patterns("lock.mdb"))
        for path, (before, damaged) in found.items():
            kept = []
            for folder, _, files in os.walk(os.path.dirname(copy + path)):
                for name in files:
                    with open(os.path.join(folder, name), "rb") as file:
                        if file.read() == damaged:
                            kept.append(os.path.join(folder, name))
            if not kept:
                hurt.failures.append((hurt.where, f"the damaged {path} is gone"))
            if copy + path in kept:
                with open(copy + path, "wb") as file:
                    file.write(before)
        hurt.judge_folder(hurt.where, copy)


def recoveries(hurt, count):
    done = 0
    for _ in range(count * 4):
        if done >= count:
            break
        hurt.step(hurt.random.choice(QUICK))
        stop(hurt)
        found = replay.damage(hurt.mail.state)
        for _ in range(hurt.random.randint(1, 3)):
            done += cut_off(hurt, "recover")
            look_at_recovery(hurt, found)
        if go_through(hurt, "recover"):
            look_at_recovery(hurt, found)
            hurt.look(hurt.where)
        for name in replay.ENVIRONMENTS:
            folder = f"{hurt.mail.state}/{name}/env"
            for file in os.listdir(folder):
                if file.startswith("data.damaged-"):
                    os.unlink(f"{folder}/{file}")
        hurt.mail.start_again()
        hurt.heal()
    hurt.settle()
    return done


def compactions(hurt, count):
    done = 0
    for _ in range(count * 4):
        if done >= count:
            break
        hurt.step(hurt.random.choice(QUICK))
        stop(hurt)
        for _ in range(hurt.random.randint(1, 3)):
            done += cut_off(hurt, "compact")
            hurt.look(hurt.where)
        if go_through(hurt, "compact"):
            hurt.look(hurt.where)
        hurt.mail.start_again()
        hurt.heal()
    hurt.settle()
    return done


def upgrades(hurt, count):
    """Whoever executes his own program anew, or was just begun by one, dies."""
    return live.kills(hurt, count, ("upgrade",))


COMMANDS = {"backup": backups, "restore": restores, "restore of a part": parts,
            "recover": recoveries, "compact": compactions, "upgrade": upgrades}
