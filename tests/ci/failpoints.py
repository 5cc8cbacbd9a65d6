#!/usr/bin/env python3
"""Checks that every failpoint of common/base/failpoint_list.inc is passed by some code.

  tests/ci/failpoints.py [ROOT]

Prints one line per violation; exit code 1 when there was one.
"""

import pathlib
import re
import sys

LAYERS = ("common", "server", "worker", "client")
DECLARED = re.compile(r"^X\((k\w+),", re.MULTILINE)
USED = re.compile(r"\bFailpoint::(k\w+)")


def main():
  root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")
  declared = set(DECLARED.findall((root / "common/base/failpoint_list.inc").read_text()))
  used = set()
  for layer in LAYERS:
    for path in (root / layer).rglob("*.cc"):
      if not path.name.endswith("_test.cc") and path.name != "failpoint_rule.cc":
        used |= set(USED.findall(path.read_text()))
  for name in sorted(declared - used):
    print("common/base/failpoint_list.inc: no code passes Failpoint::%s" % name)
  sys.exit(1 if declared - used else 0)


if __name__ == "__main__":
  main()
