"""Storms of a size for every change: kills, and processes that stop for longer than their leases and go on."""

import os
import subprocess
import sys
import unittest

from tests.fault.storm import parse, storm


class StormTest(unittest.TestCase):
    def test_kills(self):
        self.assertTrue(storm(parse(["--kills", "200"])))

    def test_stopped_processes(self):
        self.assertTrue(storm(parse(["--kills", "20", "--stop-share", "1"])))

    def test_wrong_flags(self):
        for flags, message in (
            (["--roles", "worker,clerk"], "clerk"),
            (["--roles", "worker,worker"], "named twice"),
            (["--kills", "2"], "--kills"),
            (["--replication", "2"], "--replication"),
            (["--stop-share", "1.5"], "--stop-share"),
        ):
            done = subprocess.run(
                [sys.executable, "-m", "tests.fault.storm", *flags], capture_output=True, text=True, env=os.environ
            )
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(message, done.stderr)


if __name__ == "__main__":
    unittest.main()
