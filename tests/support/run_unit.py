#!/usr/bin/python3
"""Runs unit test programs side by side; prints a failing one's output and one closing line."""
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor


def run(program):
    # Check's 4 s are too few on a busy machine.
    env = {"CK_DEFAULT_TIMEOUT": "120", **os.environ}
    done = subprocess.run([program], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=240, check=False)
    text = done.stdout.decode(errors="replace")
    checks = sum(int(n) for n in re.findall(r"Checks: (\d+)", text))
    return program, done.returncode, checks, text


def main():
    programs = sys.argv[1:]
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 2) as pool:
        results = list(pool.map(run, programs))
    failed = [r for r in results if r[1] != 0 or r[2] == 0]
    for program, code, _, text in failed:
        print(f"--- {program}: exit status {code}\n{text}")
    total = sum(r[2] for r in results)
    print(f"unit: {len(results)} programs, {total} checks")
    print(f"{total if not failed else total - len(failed)} passed, {len(failed)} failed")
    return 1 if failed or not total else 0


sys.exit(main())
