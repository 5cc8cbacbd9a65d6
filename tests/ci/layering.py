#!/usr/bin/env python3
"""Checks what the compiler does not: who may include whom, BUILD visibility and globs, stray text; reports file sizes.

  tests/ci/layering.py [ROOT]

Prints one line per violation, then the longest files; exit code 1 when there was a violation.
"""

import os
import re
import subprocess
import sys

# Arrows point down only: client | server | worker -> common -> proto. tests/ may use everything; nothing uses tests/.
MAY_INCLUDE = {
    "proto": {"proto"},
    "common": {"common", "proto"},
    "server": {"server", "common", "proto"},
    "worker": {"worker", "common", "proto"},
    "client": {"client", "common", "proto"},
    "tests": {"tests", "server", "worker", "client", "common", "proto"},
}
LAYERS = set(MAY_INCLUDE) | {"deploy", "docs", "third_party"}

# Pure cores: no gRPC, no flags, whatever else they include.
PURE = ("common/partition/", "common/tensor/", "common/model/", "server/store/", "worker/graph/")
IMPURE_HEADERS = re.compile(r"grpcpp/|grpc/|CLI/|\.grpc\.pb\.h")

SOURCE_LIMIT, TEST_LIMIT, REPORT_FROM = 500, 800, 300
PUBLIC_PACKAGES = ("common/", "proto/", "third_party/")

# Leftovers of the making that mean nothing to a reader: work marks, and paths of one machine.
STRAY_TEXT = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "HA" + "CK")) + r")\b|(?<![\w.$/-])/(work|root|tmp/pre)\b")
MARKDOWN_NAME = re.compile(r"\b([A-Z][A-Z_]{3,}\.md)\b")
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')


def tracked_files(root):
  command = ["git", "-C", root, "ls-files", "--cached", "--others", "--exclude-standard"]
  names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\n")
  return sorted(name for name in names if name and os.path.isfile(os.path.join(root, name)))


def check_includes(name, lines):
  layer = name.split("/")[0]
  for number, line in enumerate(lines, 1):
    match = INCLUDE.match(line)
    if not match:
      continue
    header = match.group(1)
    target = header.split("/")[0]
    if target in LAYERS and layer in MAY_INCLUDE and target not in MAY_INCLUDE[layer]:
      yield "%s:%d: %s must not include %s" % (name, number, layer, header)
    is_test = name.endswith("_test.cc")
    if name.startswith(PURE) and not is_test and IMPURE_HEADERS.search(header):
      yield "%s:%d: a pure core must not include %s" % (name, number, header)


def check_build(name, lines):
  rules = re.split(r"\n(?=\w+\()", "\n".join(lines))
  for rule in rules:
    if "//visibility:public" in rule and not rule.startswith("cc_binary(") and not name.startswith(PUBLIC_PACKAGES):
      yield "%s: public visibility is for programs and %s only" % (name, ", ".join(PUBLIC_PACKAGES))
    for patterns in re.findall(r"glob\(([^)]*)\)", rule):
      if not all("testdata/" in pattern for pattern in re.findall(r'"([^"]*)"', patterns)):
        yield "%s: no globs but for test data: %s" % (name, " ".join(patterns.split()))


def check_text(name, lines, all_names):
  markdown = {os.path.basename(other) for other in all_names if other.endswith(".md")}
  for number, line in enumerate(lines, 1):
    match = STRAY_TEXT.search(line)
    if match:
      yield "%s:%d: stray text %r" % (name, number, match.group(0))
    for document in MARKDOWN_NAME.findall(line):
      if document not in markdown:
        yield "%s:%d: speaks of %s, which is not in the repository" % (name, number, document)


def violations(root, names):
  for name in names:
    try:
      with open(os.path.join(root, name), encoding="utf-8") as file:
        lines = file.read().split("\n")[:-1]
    except UnicodeDecodeError:
      continue  # Binary test data.
    if name.endswith((".h", ".cc")):
      yield from check_includes(name, lines)
    if os.path.basename(name) == "BUILD":
      yield from check_build(name, lines)
    yield from check_text(name, lines, names)


def report_sizes(root, names):
  sizes = []
  for name in names:
    if name.endswith((".h", ".cc")):
      with open(os.path.join(root, name), encoding="utf-8") as file:
        sizes.append((sum(1 for _ in file), name))
  longest = [entry for entry in sorted(sizes, reverse=True) if entry[0] > REPORT_FROM][:10]
  print("%d C++ files, median %d lines; over %d lines:" %
        (len(sizes), sorted(sizes)[len(sizes) // 2][0] if sizes else 0, REPORT_FROM))
  for count, name in longest:
    limit = TEST_LIMIT if name.endswith("_test.cc") or name.startswith("tests/") else SOURCE_LIMIT
    print("  %4d %s%s" % (count, name, "  <- over %d: split it" % limit if count > limit else ""))


def main(arguments):
  root = os.path.abspath(arguments[0] if arguments else os.path.join(os.path.dirname(__file__), "../.."))
  names = tracked_files(root)
  found = list(violations(root, names))
  for violation in found:
    print(violation)
  report_sizes(root, names)
  return 1 if found else 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
