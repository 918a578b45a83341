#!/usr/bin/python3
"""House rules that compilers do not check: banned calls, file and function length, leftovers."""
import re
import subprocess
import sys

FILE_MAX = 800
FUNCTION_MAX = 60
BANNED = re.compile(
    r"\b(strcpy|strcat|sprintf|vsprintf|strtok|atoi|atol|gets|system|popen|alloca|setjmp|"
    r"gethostbyname|getaddrinfo|strncpy|strncat)\s*\(")
LEFTOVER = re.compile(r"\b(TODO|FIXME|XXX)\b")
FUNCTION = re.compile(r"^[A-Za-z_].*\)\s*$")


def strip_strings(line):
    line = re.sub(r'"(\\.|[^"\\])*"', '""', line)
    return re.sub(r"/\*.*?\*/", "", line)


def long_functions(lines):
    """Functions by their layout: an opening brace in column one to the closing one."""
    start = None
    for number, line in enumerate(lines, 1):
        if line.startswith("{"):
            start = number
        elif line.startswith("}") and not line.startswith("};") and start:
            if number - start - 1 > FUNCTION_MAX:
                yield start, number - start - 1
            start = None


def check(path):
    with open(path, encoding="utf-8") as source:
        lines = source.read().split("\n")
    found = []
    if len(lines) - 1 > FILE_MAX:
        found.append((1, f"{len(lines) - 1} lines, at most {FILE_MAX}"))
    if not path.startswith("tests/"):
        found += [(n, f"function of {size} lines, at most {FUNCTION_MAX}")
                  for n, size in long_functions(lines)]
    for number, line in enumerate(lines, 1):
        code = strip_strings(line)
        banned = BANNED.search(code)
        if banned and not code.lstrip().startswith(("*", "/*")):
            found.append((number, f"{banned.group(1)} is banned"))
        if LEFTOVER.search(line):
            found.append((number, "a leftover marker"))
    return found


def main():
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.c", "*.h"],
                           stdout=subprocess.PIPE, check=True).stdout.decode().split()
    bad = 0
    for path in files:
        for number, why in check(path):
            print(f"{path}:{number}: {why}")
            bad += 1
    print(f"source-check: {len(files)} files, {bad} breaches")
    return 1 if bad else 0


sys.exit(main())
