"""The README's sentence about rights, asked of a running appliance: from outside, of /proc; and from
inside, by processes that try to break out. Started as root, and not as root."""
import glob
import os
import socket
import stat

import pytest

import ipc
from appliance import UID_BASE, USERS, Appliance, free_ports

IS_ROOT = os.geteuid() == 0
# Who reads what strangers send, and the two with the secrets.
ROLES = {"smtpd-receive": "in", "smtpd-send": "out", "smtpd-local": "local",
         "smtpd-fetch": "fetch", "imapd-worker": "imap", "pop3d-worker": "pop3"}
OUTSIDE = ("smtpd-send", "smtpd-fetch")
OWNERS = {"authd": "auth", "keyd": "key"}
MONITORS = ("smtpd", "imapd", "pop3d", "web-server")
# They start programs: a sandbox that these have in common, and no other around them.
LAUNCHERS = MONITORS + ("web-worker",)
INSIDE = {**ROLES, **OWNERS}
LAUNCHER = {"NET_BIND_SERVICE": 10, "SETUID": 7, "SETGID": 6, "KILL": 5}
STATE_OF = {"smtpd-receive": ("queue",), "smtpd-send": ("queue",), "smtpd-fetch": (),
            "smtpd-local": ("queue", "store"),
            "imapd-worker": ("store",), "pop3d-worker": ("store",), "authd": ("auth", "conf"), "keyd": ("keys",)}
SECRETS = {"queue": "queue/env/data.mdb", "store": "store/env/data.mdb",
           "auth": "auth/env/data.mdb"}


@pytest.fixture(scope="module", params=["root", "nobody"] if IS_ROOT else ["self"])
def running(request):
    """Settings in a folder of their own, as in /etc: who may read them may not read all."""
    kwargs = {"root": {}, "nobody": {"user": "nobody"}, "self": {}}[request.param]
    with Appliance(settings={"web.port": str(free_ports(1)[0])}, env={"MAILSTEAD_PROBE": "1"},
                   **kwargs) as appliance:
        appliance.kind = request.param
        yield appliance


def status(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as lines:
        return dict(line.rstrip("\n").split(":\t", 1) for line in lines if ":\t" in line)


def probe(appliance, program, *words):
    with ipc.Client(f"{appliance.folder}/run/{program}/ctl") as client:
        return client.admin("probe", *words)[1]


def landlock(appliance):
    return "landlock=off" not in appliance.log_text()


# --- from outside --------------------------------------------------------------------------------
def test_no_process_that_speaks_with_anybody_is_root(running):
    pids = running.pids()
    for program, user in INSIDE.items():
        uids = {int(uid) for uid in status(pids[program])["Uid"].split()}
        if running.kind == "root":
            assert uids == {UID_BASE + USERS.index(user)}, program
        else:
            assert len(uids) == 1
        if IS_ROOT:
            assert 0 not in uids, program


def test_no_process_has_a_capability_it_does_not_need(running):
    pids = running.pids()
    for program in INSIDE:
        values = status(pids[program])
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(values[name], 16) == 0, (program, name)
    allowed = sum(1 << bit for bit in LAUNCHER.values())
    for program in MONITORS:
        values = status(pids[program])
        wanted = allowed if running.kind == "root" else 0
        assert int(values["CapPrm"], 16) == wanted, program
        assert int(values["CapEff"], 16) == wanted, program
        assert int(values["CapInh"], 16) == int(values["CapAmb"], 16) == 0, program
        if running.kind == "root":
            assert int(values["CapBnd"], 16) == allowed, program


def test_no_new_privileges_and_a_system_call_filter(running):
    pids = running.pids()
    for program in INSIDE:
        values = status(pids[program])
        assert values["NoNewPrivs"] == "1", program
        assert values["Seccomp"] == "2", program
    for program in LAUNCHERS:
        values = status(pids[program])
        assert values["NoNewPrivs"] == "1", program
        assert values["Seccomp"] == "2", program


def lighttpd(running):
    """What web-worker has started: it speaks with strangers' browsers."""
    worker = running.pids()["web-worker"]

    def find():
        with open(f"/proc/{worker}/task/{worker}/children", encoding="ascii") as children:
            found = [int(pid) for pid in children.read().split()]
        return [pid for pid in found
                if os.path.basename(os.readlink(f"/proc/{pid}/exe")) == "lighttpd"]

    return running.wait_for(find)[0]


def test_the_web_server_has_no_rights_either(running):
    values = status(lighttpd(running))
    assert values["NoNewPrivs"] == "1" and values["Seccomp"] == "2"
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(values[name], 16) == 0, name
    uids = {int(uid) for uid in values["Uid"].split()}
    assert uids == {UID_BASE + USERS.index("web")} if running.kind == "root" else len(uids) == 1
    if IS_ROOT:
        assert 0 not in uids
    if running.kind != "root":
        return
    gids = {int(g) for g in values["Groups"].split() + values["Gid"].split()}
    for path in [f"{running.state}/{p}" for p in SECRETS.values()] + glob.glob(
            f"{running.state}/keys/**", recursive=True):
        assert not may_read(path, min(uids), gids), path


def may_read(path, uid, gids):
    """By owner, group and mode, for the file and each folder above it."""
    wanted = 4
    while True:
        st = os.stat(path)
        if uid == st.st_uid:
            bits = st.st_mode >> 6
        elif st.st_gid in gids:
            bits = st.st_mode >> 3
        else:
            bits = st.st_mode
        if not bits & wanted & 7:
            return False
        if path == "/":
            return True
        path, wanted = os.path.dirname(path), 1


@pytest.mark.skipif(not IS_ROOT, reason="uids are separate only if root starts them")
def test_files_are_readable_for_their_owners_only(running):
    if running.kind != "root":
        pytest.skip("one uid")
    pids = running.pids()
    secrets = {"auth": glob.glob(f"{running.state}/auth/env/*.mdb"),
               "key": glob.glob(f"{running.state}/keys/**", recursive=True),
               "store": glob.glob(f"{running.state}/store/env/*.mdb"),
               "queue": glob.glob(f"{running.state}/queue/env/*.mdb")}
    for kind, files in secrets.items():
        assert [f for f in files if os.path.isfile(f)], kind
    for program in ROLES:
        values = status(pids[program])
        uid = int(values["Uid"].split()[0])
        gids = {int(g) for g in values["Groups"].split() + values["Gid"].split()}
        for kind, files in secrets.items():
            for path in files:
                expected = kind in STATE_OF[program]
                if os.path.isfile(path):
                    assert may_read(path, uid, gids) == expected, (program, path)


def test_no_process_holds_a_file_that_is_not_its_own(running):
    """Open descriptors: nothing of another's folder came along."""
    for program, pid in running.pids().items():
        if program not in ROLES:
            continue
        for fd in glob.glob(f"/proc/{pid}/fd/*"):
            try:
                target = os.readlink(fd)
            except OSError:
                continue
            if target.startswith(f"{running.state}/"):
                folder = target[len(running.state) + 1:].split("/")[0]
                assert folder in STATE_OF[program], (program, target)


def test_sockets_and_folders_have_their_modes(running):
    def mode(path):
        return stat.S_IMODE(os.stat(f"{running.folder}/{path}").st_mode)

    assert mode("run/authd/auth.sock") == 0o660
    assert mode("run/authd/admin.sock") == 0o600
    assert mode("run/authd/web.sock") == 0o660
    assert mode("state/auth") == mode("state/keys") == 0o700
    for program in INSIDE:
        assert mode(f"run/{program}/ctl") == 0o660
        assert mode(f"run/{program}") & 0o777 == 0o711
    if running.kind == "root":
        assert os.stat(f"{running.folder}/run/authd/web.sock").st_gid == (
            UID_BASE + USERS.index("web"))


# --- from inside ---------------------------------------------------------------------------------
@pytest.mark.parametrize("program", sorted(INSIDE))
def test_only_the_own_folders_can_be_opened(running, program):
    for kind, path in SECRETS.items():
        got = probe(running, program, "open", f"{running.state}/{path}")
        own = kind in STATE_OF[program]
        if own:
            assert got == "ok", (program, path)
        elif landlock(running) or running.kind == "root":
            assert got == "EACCES", (program, path)
    if landlock(running):
        closed = ["/etc/shadow", "/", "/root", f"{running.folder}/log"]
        if program not in OUTSIDE:  # the resolver's files are replaced under it: it has /etc
            closed.append("/etc/hostname")
        for path in closed:
            assert probe(running, program, "open", path) in ("EACCES", "ENOENT"), (program, path)
        for path in ("/tmp/mailstead-probe", f"{running.state}/probe",
                     f"{running.folder}/run/probe", f"{running.folder}/run/authd2"):
            assert probe(running, program, "create", path) == "EACCES", (program, path)
        other = "smtpd-local" if program != "smtpd-local" else "authd"
        assert probe(running, program, "unlink", f"{running.folder}/run/{other}/ctl") == "EACCES"


@pytest.mark.parametrize("program", sorted(ROLES))
def test_keys_can_be_opened_by_no_role(running, program):
    keys = [f for f in glob.glob(f"{running.state}/keys/**", recursive=True) if os.path.isfile(f)]
    assert keys
    if landlock(running) or running.kind == "root":
        for path in keys + [f"{running.state}/keys"]:
            assert probe(running, program, "open", path) == "EACCES", (program, path)


@pytest.mark.parametrize("program", sorted(INSIDE))
def test_connections_are_made_where_they_belong_only(running, program):
    netlink, packet, vsock, inet, inet6 = 16, 17, 40, 2, 10
    for family in (netlink, packet, vsock):
        assert probe(running, program, "socket", str(family)) == "EAFNOSUPPORT", program
    # Only who sends mail, and who fetches policies, goes out.
    internet = "ok" if program in OUTSIDE else "EAFNOSUPPORT"
    for family in (inet, inet6):
        assert probe(running, program, "socket", str(family)) == internet, program
    assert probe(running, program, "connect", "127.0.0.1", str(running.ports["smtp"])) == internet
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    port = str(listener.getsockname()[1])
    assert probe(running, program, "connect", "127.0.0.1", port) == internet
    listener.close()
    if program != "authd" and running.kind == "root":
        # Who fetches policies has nobody to ask.
        authd = "EACCES" if program == "smtpd-fetch" else "ok"
        assert probe(running, program, "unix", f"{running.folder}/run/authd/auth.sock") == authd
        for path in ("authd/admin.sock", "authd/web.sock"):
            assert probe(running, program, "unix", f"{running.folder}/run/{path}") == "EACCES"


def test_a_control_socket_answers_authd_and_root_only(running):
    """What one role may connect to because of its group answers it nothing."""
    if running.kind != "root":
        pytest.skip("one uid")
    import multiprocessing

    def ask(queue):
        os.setgroups([UID_BASE + len(USERS)])
        os.setgid(UID_BASE + USERS.index("in"))
        os.setuid(UID_BASE + USERS.index("in"))
        try:
            with ipc.Client(f"{running.folder}/run/smtpd-local/ctl") as client:
                queue.put(client.admin("status"))
        except ipc.Refused as why:
            queue.put(why.why)

    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=ask, args=(queue,))
    child.start()
    assert queue.get(timeout=30) == "only authd and root may ask"
    child.join()


@pytest.mark.parametrize("program", sorted(INSIDE))
def test_threads_are_allowed_and_signals_stay_inside(running, program):
    assert probe(running, program, "thread") == "ok"
    if landlock(running):
        assert probe(running, program, "kill", str(running.process.pid)) == "EPERM"


@pytest.mark.parametrize("attempt", [("exec", "/bin/true"), ("fork",), ("trace",), ("setuid",)])
@pytest.mark.parametrize("program", sorted(INSIDE))
def test_what_no_process_does_ends_it(running, program, attempt):
    """It is killed by the filter, and another one takes its place."""
    if "event=sandbox-sanitizer" in running.log_text() and attempt[0] in ("fork", "trace"):
        pytest.skip("sanitizers need it")
    old = running.pids()[program]
    with pytest.raises(ConnectionError):
        probe(running, program, *attempt)
    running.wait_for(lambda: running.pids().get(program) not in (None, old))
    running.wait_for(lambda: f"event=program-ready program={program} "
                     f"pid={running.pids().get(program)}" in running.log_text())
    assert f"event=program-ended program={program} status=159" in running.log_text()


@pytest.mark.parametrize("program", LAUNCHERS)
def test_who_starts_programs_writes_in_its_folders_only(running, program):
    if not landlock(running):
        pytest.skip("not in this kernel")
    for path in ("/etc/mailstead-probe", "/usr/bin/mailstead-probe", "/opt/mailstead-probe",
                 f"{running.state}/probe", f"{running.state}/keys/probe",
                 f"{running.folder}/etc/probe"):
        assert probe(running, program, "create", path) == "EACCES", (program, path)
    own = f"{running.folder}/run/{program}/probe"
    assert probe(running, program, "create", own) == "ok"
    assert probe(running, program, "unlink", own) == "ok"
    if running.kind == "root":
        for path in SECRETS.values():
            assert probe(running, program, "open", f"{running.state}/{path}") == "EACCES", path
        assert probe(running, program, "open", f"{running.state}/keys") == "EACCES"
    assert probe(running, program, "kill", str(running.process.pid)) == "EPERM"


@pytest.mark.parametrize("program", LAUNCHERS)
def test_who_starts_programs_makes_no_foreign_sockets(running, program):
    for family in (16, 17, 40):
        assert probe(running, program, "socket", str(family)) == "EAFNOSUPPORT", program
    for family in (2, 10, 1):
        assert probe(running, program, "socket", str(family)) == "ok", program
    if program == "web-worker" and running.kind == "root":
        assert probe(running, program, "unix", f"{running.folder}/run/authd/web.sock") == "ok"
        for path in ("authd/admin.sock", "keyd/keyd.sock"):
            assert probe(running, program, "unix", f"{running.folder}/run/{path}") == "EACCES"


@pytest.mark.parametrize("program", LAUNCHERS)
def test_tracing_ends_who_starts_programs(running, program):
    if "event=sandbox-sanitizer" in running.log_text():
        pytest.skip("sanitizers need it")
    old = running.pids()[program]
    with pytest.raises(ConnectionError):
        probe(running, program, "trace")
    running.wait_for(lambda: running.pids().get(program) not in (None, old))
    running.wait_for(lambda: f"event=program-ready program={program} "
                     f"pid={running.pids().get(program)}" in running.log_text())
