#!/usr/bin/python3
"""Enforces who may include whom: folder order in common/, and which system headers stand where."""
import re
import subprocess
import sys

ORDER = ["base", "crypto", "log", "event", "mail", "net", "dns", "ipc", "config", "sasl", "db",
         "store", "daemon"]
# Folders whose rights are narrower than "everything before it in ORDER".
ONLY = {
    "common/base": [],
    "common/mail": ["base"],
    "common/config": ["base"],
    "common/db": ["base", "log", "event"],
    "common/keyd": ["base", "crypto", "log", "event", "net", "ipc", "config", "daemon"],
    "common/ctl": ["base", "log", "event", "mail", "ipc", "config", "daemon"],
    "webadmin": ["base", "ipc", "config"],
    "smtpd/fetch": ["base", "log", "event", "mail", "net", "ipc", "config", "daemon"],
    "webadmin/worker": ["base", "log", "event", "net", "ipc", "config", "daemon"],
    "common/monitor": ["base", "config", "daemon"],
    "webadmin/acme": ["base", "log", "event", "ipc", "config", "daemon"],
}
PROGRAM_FOLDERS = {
    "common/authd": ["common/authd"],
    "common/keyd": ["common/keyd"],
    "common/ctl": ["common/ctl"],
    "common/maint": ["common/maint", "smtpd/queue"],
    "common/monitor": [],
    "smtpd/receive": ["smtpd/receive", "smtpd/queue"],
    "smtpd/local": ["smtpd/local", "smtpd/queue"],
    "smtpd/send": ["smtpd/send", "smtpd/queue"],
    "smtpd/queue": ["smtpd/queue"],
    "smtpd/fetch": ["smtpd/fetch"],
    "imapd": ["imapd"],
    "pop3d": ["pop3d"],
    "webadmin": ["webadmin"],
    "webadmin/worker": ["webadmin/worker"],
    "webadmin/acme": ["webadmin/acme"],
}
# System header (regular expression) -> the only places that may include it.
SYSTEM = [
    (r"lmdb\.h", ["common/db/"]),
    (r"argon2\.h", ["common/authd/"]),
    (r"openssl/.*", ["common/net/tls", "common/keyd/", "common/crypto/sign"]),
    (r"event2?/.*|event\.h", ["common/event/"]),
    (r"unbound.*\.h", ["common/dns/"]),
    (r"zstd\.h", ["common/store/"]),
    (r"zlib\.h", ["common/net/deflate.c"]),
    (r"idn2\.h", ["common/mail/"]),
    (r"utf8proc\.h", ["common/mail/"]),
]
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]')


def allowed_common(folder):
    """Names below common/ that a folder may include."""
    if folder in ONLY:
        return set(ONLY[folder]) | ({folder.split("/")[1]} if folder.startswith("common/") else set())
    if folder.startswith("common/") and folder.split("/")[1] in ORDER:
        return set(ORDER[:ORDER.index(folder.split("/")[1]) + 1])
    return set(ORDER)


def check_line(path, folder, quote, target):
    if quote == '"':
        own = target.rsplit("/", 1)[0]
        if own.startswith("common/") and own.split("/")[1] in ORDER:
            if own.split("/")[1] not in allowed_common(folder):
                return f"{folder} may not include {own}"
        elif own not in PROGRAM_FOLDERS.get(folder, []):
            return f"{folder} may not include {own}"
        return None
    for pattern, places in SYSTEM:
        if re.fullmatch(pattern, target) and not any(path.startswith(p) for p in places):
            return f"<{target}> only in {', '.join(places)}"
    return None


def main():
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.c", "*.h", "*.def"],
                           stdout=subprocess.PIPE, check=True).stdout.decode().split()
    bad = 0
    for path in files:
        if path.startswith("tests/"):
            continue
        folder = path.rsplit("/", 1)[0]
        if folder not in PROGRAM_FOLDERS and not (
                folder.startswith("common/") and folder.split("/")[1] in ORDER):
            print(f"{path}: not in a folder of the tree's plan")
            bad += 1
            continue
        with open(path, encoding="utf-8") as source:
            for number, line in enumerate(source, 1):
                found = INCLUDE.match(line)
                why = found and check_line(path, folder, found.group(1), found.group(2))
                if why:
                    print(f"{path}:{number}: {why}")
                    bad += 1
    print(f"deps-check: {len(files)} files, {bad} breaches")
    return 1 if bad else 0


sys.exit(main())
