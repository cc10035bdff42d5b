# SPDX-License-Identifier: BSD-3-Clause
"""What the checks of the layout read: the symbols of the built objects, by source file.

compile_commands.json of a build directory names each source and its object; nm reports the
globals that an object defines and those that it uses.
"""
import argparse
import fnmatch
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
# Findings that do not count, a line each: CHECK FILE-PATTERN reason.
BASELINE = os.environ.get("CHECKS_BASELINE", os.path.join(HERE, "baseline.txt"))


class Object:
    """One compiled source: its path in the tree, where it is linked, its globals."""

    def __init__(self, source, target):
        self.source = source
        self.folder = os.path.dirname(source)
        self.target = target
        self.defines = {}  # symbol -> nm's letter
        self.uses = set()


def nm(paths, *options):
    """Yields (path, symbol, letter) of the external symbols of objects or libraries."""
    run = subprocess.run(["nm", "-A", "-P", "-g", *options, *paths], capture_output=True, text=True)
    if run.returncode:
        sys.exit("nm failed; is the build complete? " + run.stderr.strip().split("\n")[0])
    for line in run.stdout.splitlines():
        path, rest = line.split(": ", 1)
        symbol, letter = rest.split()[:2]
        yield path, symbol.split("@")[0], letter


def load(build, tests=False):
    """The objects of a build, without generated sources and, by default, without tests."""
    try:
        with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as f:
            commands = json.load(f)
    except OSError as e:
        sys.exit(f"no build in {build}: {e.strerror}")
    objects = {}
    for command in commands:
        where = command["directory"]
        source = os.path.normpath(os.path.join(where, command["file"]))
        source = os.path.relpath(source, os.path.dirname(os.path.realpath(build)))
        if source.startswith(("..", os.path.basename(os.path.realpath(build)) + os.sep)):
            continue
        if source.startswith("tests" + os.sep) and not tests:
            continue
        path = os.path.join(where, command["output"])
        if os.path.exists(path):
            objects[path] = Object(source, os.path.dirname(command["output"]))
    if not objects:
        sys.exit(f"no objects in {build}; build it first")
    for path, symbol, letter in nm(list(objects)):
        if letter in "Uwv":
            objects[path].uses.add(symbol)
        else:
            objects[path].defines[symbol] = letter
    return list(objects.values())


def arrows(objects):
    """Yields (user, definer, symbol): which file uses what of which other file.

    A symbol that several programs define is taken from the user's own program. The preload
    library defines libc's names; nothing else links it.
    """
    definers = {}
    for o in objects:
        for symbol in o.defines:
            definers.setdefault(symbol, []).append(o)
    seen = set()
    for o in objects:
        for symbol in sorted(o.uses):
            found = definers.get(symbol, [])
            own = [d for d in found if d.target == o.target]
            for d in (own or [d for d in found if d.folder != "preload"])[:1]:
                arrow = (o.source, d.source, symbol)
                if d.source != o.source and arrow not in seen:
                    seen.add(arrow)
                    yield arrow


def library(build, name):
    """The path of a shared library of the build, found by the start of its name."""
    folder = os.path.join(build, "lib")
    for entry in sorted(os.listdir(folder)):
        if entry.startswith(name + ".so") and os.path.isfile(os.path.join(folder, entry)):
            return os.path.join(folder, entry)
    sys.exit(f"no {name}.so in {folder}")


def table(path):
    """The lines of a data file without comments and blank ones."""
    with open(path, encoding="utf-8") as f:
        lines = [line.split("#", 1)[0].strip() for line in f]
    return [line for line in lines if line]


class Report:
    """Prints one line a finding; those that baseline.txt excuses do not count."""

    def __init__(self, check):
        self.check = check
        self.findings = 0
        self.excused = 0
        self.patterns = []
        for line in table(BASELINE) if os.path.exists(BASELINE) else []:
            name, pattern = line.split()[:2]
            if name == check:
                self.patterns.append(pattern)

    def finding(self, files, text):
        if any(fnmatch.fnmatch(f, p) for f in files for p in self.patterns):
            self.excused += 1
            return
        self.findings += 1
        print(f"{self.check}: {text}")

    def exit(self):
        if self.excused:
            print(f"{self.check}: {self.excused} excused by {os.path.basename(BASELINE)}", file=sys.stderr)
        sys.exit(1 if self.findings else 0)


def build_argument(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("build", nargs="?", default=os.path.join(ROOT, "build"),
                        help="the build directory (build)")
    return parser
