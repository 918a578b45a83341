#!/usr/bin/python3
"""
The crash tests: usage run.py [--full] [--seed N] [--only SCENARIO].

Records what the appliance does to its disk while clients use it, rebuilds what a power cut at every
point may leave, opens each of these states and compares it with what was acknowledged; kills
processes at system calls and starts them again; and does the same with builds that break one rule
each, which must be caught, or the run is void. README.md in this folder says more.
"""
import argparse
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "support")]

import appliance  # noqa: E402
import commands  # noqa: E402
import live  # noqa: E402
import replay  # noqa: E402
import scenarios  # noqa: E402

# Which scenario shows that a rule is broken.
MUTANTS = {"no_flush": "smtp_in", "no_folder_flush": "smtp_in", "ack_early": "smtp_in",
           "commit_failed": "refused_append"}
FULL_REPLAY, FULL_KILL = 20_000, 10_000


def one(task):
    """Records and replays one scenario: a row of the table."""
    name, seed, repeat, share, extra, programs, stop_at = task
    begun = time.monotonic()
    folder = tempfile.mkdtemp(prefix="mailstead-crash-")
    try:
        steps = [scenarios.SCENARIOS[name]] * repeat if name in scenarios.SCENARIOS \
            else [scenarios.SPECIAL[name]]
        recording = replay.record(name, steps, seed, programs=programs, folder=folder)
        result = replay.replay(recording, random.Random(f"{seed}/{name}"), share, extra=extra,
                               stop_at=stop_at)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return name, result, time.monotonic() - begun


def hurt(task):
    """Kills, failing calls or allocations, and commands that are cut off: a row."""
    what, seed, count = task
    begun = time.monotonic()
    result = replay.Result()
    if what.startswith("full disk"):
        full = live.full_disk(seed, what.split()[-1])
        result.points, result.states = 1, full.states
        result.failures = [(what, seed, *failure) for failure in full.failures]
        return what, result, time.monotonic() - begun
    program = what.split()[1] if what.startswith("allocations") else None
    with live.Live(seed, fail_malloc_in=program) as appliance_hurt:
        if what in commands.COMMANDS:
            result.points = commands.COMMANDS[what](appliance_hurt, count)
        elif program:
            result.points = live.allocations(appliance_hurt, program, count)
        else:
            result.points = getattr(live, what)(appliance_hurt, count)
        result.states = appliance_hurt.states
        result.failures = [(what, seed, *failure) for failure in appliance_hurt.failures]
        if result.points == 0 and count > 3:  # of few commands none may be hit
            result.failures.append((what, seed, "nobody was hit"))
    return what, result, time.monotonic() - begun


def run_hurts(pool, seed, full):
    table = Table()
    programs = live.ALLOCATORS if full else [live.ALLOCATORS[seed % len(live.ALLOCATORS)]]
    tasks = [("kills", seed + i, 40 if full else 8) for i in range(10 if full else 1)]
    tasks += [("faults", seed + i, 40 if full else 8) for i in range(15 if full else 1)]
    tasks += [(f"allocations {program}", seed + i, 40 if full else 5)
              for program in programs for i in range(5 if full else 1)]
    tasks += [(command, seed + i, 40 if full else 3)
              for command in commands.COMMANDS for i in range(5 if full else 1)]
    if os.geteuid() == 0:
        tasks += [("full disk: bytes", seed, 1), ("full disk: inodes", seed, 1)]
    else:
        print("a full disk is not tried: that needs root, for a disk of its own")
    for row in pool.imap_unordered(hurt, tasks):
        table.add(*row)
    return table


class Table:
    def __init__(self):
        self.rows = {}

    def add(self, name, result, seconds):
        row = self.rows.setdefault(name, [replay.Result(), 0.0])
        row[0].add(result)
        row[1] += seconds

    def states(self):
        return sum(len(row[0].states) for row in self.rows.values())

    def kills(self):
        return sum(len(row[0].kill_states) for row in self.rows.values())

    def failures(self):
        return [f for row in self.rows.values() for f in row[0].failures]

    def show(self):
        print(f"{'scenario':16}{'crash points':>13}{'kill states':>13}{'replay states':>15}"
              f"{'failures':>10}{'seconds':>9}")
        for name, (result, seconds) in sorted(self.rows.items()):
            print(f"{name:16}{result.points:13}{len(result.kill_states):13}"
                  f"{len(result.states):15}{len(result.failures):10}{seconds:9.1f}")
        print(f"{'all':16}{'':13}{self.kills():13}{self.states():15}{len(self.failures()):10}")

    def show_hurts(self):
        print(f"{'in a running appliance':32}{'hit':>8}{'states':>8}{'failures':>10}{'seconds':>9}")
        for name, (result, seconds) in sorted(self.rows.items()):
            print(f"{name:32}{result.points:8}{len(result.states):8}{len(result.failures):10}"
                  f"{seconds:9.1f}")


def run_replays(pool, names, seed, full):
    table = Table()
    if not full:
        tasks = [(name, seed, 1, 1.0, 0, None, None) for name in names]
        for row in pool.imap_unordered(one, tasks):
            table.add(*row)
        return table
    for turn in range(1000):
        tasks = [(name, seed + turn, 3, 1.0, 2, None, None) for name in names]
        for row in pool.imap_unordered(one, tasks):
            table.add(*row)
        print(f"round {turn + 1}: {table.kills()} kill states, {table.states()} replay states, "
              f"{len(table.failures())} failures", flush=True)
        if (table.states() >= FULL_REPLAY and table.kills() >= FULL_KILL) or table.failures():
            break
    return table


def run_mutants(pool, seed):
    """Names of the mutants that were not caught."""
    tasks = [(scenario, seed, 2, 1.0, 0, os.path.join(appliance.BUILD, "mutant", name, "bin"), 1)
             for name, scenario in MUTANTS.items()]
    missed = []
    for name, (_, result, seconds) in zip(MUTANTS, pool.imap(one, tasks)):
        why = result.failures[0][2][0] if result.failures else "NOT CAUGHT"
        print(f"mutant {name}: {'caught' if result.failures else 'MISSED'} after "
              f"{result.judged} states: {why[:120]}")
        if not result.failures:
            missed.append(name)
    return missed


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--full", action="store_true")
    options.add_argument("--seed", type=int, default=int(time.time()) % 1_000_000)
    everything = [*scenarios.SCENARIOS, *scenarios.SPECIAL]
    options.add_argument("--only", choices=sorted(everything))
    options = options.parse_args()
    names = [options.only] if options.only else everything
    print(f"seed {options.seed}", flush=True)
    with multiprocessing.Pool(2) as pool:
        table = run_replays(pool, names, options.seed, options.full)
        table.show()
        missed = run_mutants(pool, options.seed) if not options.only else []
        hurts = run_hurts(pool, options.seed, options.full) if not options.only else Table()
    hurts.show_hurts()
    failures = table.failures() + hurts.failures()
    for failure in failures[:20]:
        print("FAILED", failure)
    if missed:
        print(f"VOID: not caught: {', '.join(missed)}")
    bad = len(failures) + len(missed)
    good = table.states() + sum(row[0].points for row in hurts.rows.values()) + len(MUTANTS)
    print(f"{good - len(missed)} passed, {bad} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
