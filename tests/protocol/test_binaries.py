"""How the programs are linked: what a program does not need it does not have, and what makes a bug
hard to use is on in all of them."""
import os
import re
import subprocess

import pytest

from appliance import BIN

PROGRAMS = sorted(os.listdir(BIN))
IS_SANITIZED = b"__asan_init" in open(f"{BIN}/mailsteadctl", "rb").read()
# Library -> the only programs that may need it.
ONLY = {
    "libargon2": {"authd"},
    "liblmdb": {"authd", "smtpd-receive", "smtpd-send", "smtpd-local", "imapd-worker",
                "pop3d-worker", "maint"},
    "libssl": {"keyd", "smtpd-receive", "smtpd-send", "smtpd-fetch", "imapd-worker", "pop3d-worker"},
    "libunbound": {"smtpd-receive", "smtpd-send"},
}


def readelf(*args):
    return subprocess.run(["readelf", "-W", *args], stdout=subprocess.PIPE, check=True,
                          text=True).stdout


@pytest.mark.parametrize("program", PROGRAMS)
def test_hardening(program):
    if IS_SANITIZED:
        pytest.skip("sanitizers have flags of their own")
    path = f"{BIN}/{program}"
    header, segments = readelf("-h", path), readelf("-l", path)
    dynamic, symbols = readelf("-d", path), readelf("--dyn-syms", path)
    assert "DYN (" in header, "position-independent"
    assert "GNU_RELRO" in segments
    assert re.search(r"FLAGS_1.*\bNOW\b", dynamic) and "BIND_NOW" in dynamic
    stack = re.search(r"GNU_STACK.*", segments)[0]
    assert "E" not in stack.split()[-2], "no executable stack"
    assert not re.search(r"LOAD.*RWE", segments), "nothing both writable and executable"
    assert "TEXTREL" not in dynamic
    assert "RPATH" not in dynamic and "RUNPATH" not in dynamic
    assert "__stack_chk_fail" in symbols
    assert re.search(r"__\w+_chk@", symbols), "fortified"
    if "X86-64" in header:
        # The note is gone if any object of the C library's start files lacks it: look at the code.
        with open(path, "rb") as program_file:
            assert program_file.read().count(b"\xf3\x0f\x1e\xfa") > 20, "landing pads"


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_needs_no_library_that_is_not_for_it(program):
    needed = re.findall(r"NEEDED.*\[(.*?)\.so", readelf("-d", f"{BIN}/{program}"))
    assert "libc" in needed
    for library, programs in ONLY.items():
        if any(name.startswith(library) for name in needed):
            assert program in programs, f"{program} links {library}"
