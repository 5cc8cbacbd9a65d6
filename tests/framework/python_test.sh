#!/usr/bin/env bash
# Runs a Python test with the system's interpreter (Debian's python3-grpcio belongs to it) from the runfiles directory.
#   python_test.sh tests/integration/faults_test.py
set -euo pipefail
export COORDINATOR=server/coordinator/paramd-coordinator SERVER=server/paramd-server
export WORKER=worker/paramd-worker PARAMCTL=client/paramctl
module=${1%.py}
PYTHONPATH=$PWD exec /usr/bin/python3 -m unittest -v "${module//\//.}"
