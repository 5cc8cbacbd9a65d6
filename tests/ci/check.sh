#!/usr/bin/env bash
# What a change is checked for, besides passing its tests.
#
#   tests/ci/check.sh [--fix] [--sanitizers] [--no-tests]
#
#   --fix         format the sources instead of complaining about them
#   --sanitizers  also run the tests under AddressSanitizer and ThreadSanitizer (tests tagged multi-process left out: their
#                 daemons are tested by the same code in process)
#   --no-tests    leave out the plain test run
#
# Exit code 0 when all is well, 1 when something is not, 2 for wrong flags.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1

fix=0 sanitizers=0 tests=1
failures=()

usage() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"; }

check() {
  local name=$1
  shift
  if "$@"; then
    echo "ok: $name"
  else
    failures+=("$name")
    echo "FAILED: $name"
  fi
}

# Files that git knows or would add, one a line.
sources() { git ls-files --cached --others --exclude-standard -- "$@" | while read -r f; do [ -f "$f" ] && echo "$f"; done; }

format() {
  if [ $fix -eq 1 ]; then
    sources '*.h' '*.cc' | xargs -r clang-format -i
  else
    sources '*.h' '*.cc' | xargs -r clang-format --dry-run -Werror
  fi
}

scripts() { sources | xargs -r grep -lE '^#!.*\bbash' | xargs -r shellcheck --severity=style; }

python() { sources '*.py' | xargs -r -I{} python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read(), sys.argv[1])' {}; }

sanitize() {
  bazel test --config="$1" --keep_going --test_tag_filters=-gpu,-multi-process --build_tests_only //...
}

main() {
  while [ $# -gt 0 ]; do
    case $1 in
      --fix) fix=1 ;;
      --sanitizers) sanitizers=1 ;;
      --no-tests) tests=0 ;;
      --help | -h) usage; exit 0 ;;
      *) echo "check.sh: unknown argument $1" >&2; usage >&2; exit 2 ;;
    esac
    shift
  done
  check "format" format
  check "shell scripts" scripts
  check "python scripts" python
  check "layers, visibility, text" python3 tests/ci/layering.py
  check "failpoints" python3 tests/ci/failpoints.py
  [ $tests -eq 0 ] || check "tests" deploy/test
  if [ $sanitizers -eq 1 ]; then
    check "address sanitizer" sanitize asan
    check "thread sanitizer" sanitize tsan
  fi
  [ ${#failures[@]} -eq 0 ] || { echo "check.sh: failed: ${failures[*]}"; exit 1; }
}

main "$@"
