"""Three coordinators over a real etcd: leaders are killed and stopped while a job trains, and nothing is lost."""

import subprocess
import time
import unittest

from tests.framework.etcd import HighlyAvailableCluster
from tests.framework.processes import BINARIES, eventually, mlp_spec

ENDLESS = 2_000_000_000  # Steps of a job that only tells how fast steps are.


def steps_per_second(cluster):
    job = cluster.submit(mlp_spec(cluster.directory, steps=ENDLESS))
    cluster.wait_step(job, 50)
    start, first = time.monotonic(), cluster.step(job)
    time.sleep(1.5)
    rate = (cluster.step(job) - first) / (time.monotonic() - start)
    cluster.paramctl("cancel", job)
    cluster.wait(job, "JOB_STATE_CANCELLED")
    return rate


class HighAvailabilityTest(unittest.TestCase):
    def assert_progress(self, cluster, job):
        known = cluster.step(job)
        cluster.wait_step(job, known + 20)

    def assert_stands_by(self, cluster, name):
        status, text = cluster.daemons[name].http("/readyz?verbose")
        self.assertEqual(status, 503)
        self.assertIn("standby", text)
        self.assertEqual(cluster.daemons[name].http("/livez")[0], 200)
        self.assertFalse(cluster.leads(name))

    def test_the_job_survives_its_leaders(self):
        with HighlyAvailableCluster() as cluster:
            steps = max(2000, int(steps_per_second(cluster) * 30))
            undisturbed = cluster.wait(cluster.submit(mlp_spec(cluster.directory, steps=steps)), "JOB_STATE_SUCCEEDED", 240)
            job = cluster.submit(mlp_spec(cluster.directory, steps=steps))
            cluster.wait_step(job, 20)
            led = []
            for _ in range(2):
                leader = cluster.leader()
                for name in cluster.coordinators():
                    if name != leader:
                        self.assert_stands_by(cluster, name)
                led.append(cluster.term())
                cluster.daemons[leader].kill()
                self.assertNotEqual(cluster.leader(), leader)
                self.assert_progress(cluster, job)
                cluster.start_one_coordinator(leader)

            zombie = cluster.leader()
            led.append(cluster.term())
            cluster.pause(zombie)
            self.assertNotEqual(cluster.leader(), zombie)
            self.assert_progress(cluster, job)
            led.append(cluster.term())
            cluster.resume(zombie)
            eventually(lambda: "the lead is over" in cluster.daemons[zombie].log(), "the zombie to notice")
            eventually(lambda: not cluster.leads(zombie), "the zombie to stand by")
            self.assert_progress(cluster, job)
            self.assertEqual(cluster.term(), led[-1])  # Nobody of an earlier term has written since.
            self.assertEqual(sorted(set(led)), led)
            self.assert_stands_by(cluster, zombie)

            self.assertEqual(cluster.job(job)["state"], "JOB_STATE_RUNNING", "invalid run: the job ended before the last fault")
            disturbed = cluster.wait(job, "JOB_STATE_SUCCEEDED", 240)
            self.assertEqual(disturbed["final_weights_sha256"], undisturbed["final_weights_sha256"])
            self.assertEqual(disturbed["progress"]["validation_loss"], undisturbed["progress"]["validation_loss"])
            self.assertEqual(cluster.paramctl("events", job).stdout.count("COORDINATOR_RESTARTED"), 3)

    def test_a_leader_that_is_stopped_in_order_hands_over_at_once(self):
        with HighlyAvailableCluster(coordinators=2, leader_lease="20s", lease="60s") as cluster:
            job = cluster.submit(mlp_spec(cluster.directory, steps=ENDLESS))
            cluster.wait_step(job, 20)
            leader = cluster.leader()
            self.assertEqual(cluster.daemons[leader].terminate(), 0, cluster.daemons[leader].log())
            self.assertNotEqual(cluster.leader(seconds=10), leader)  # Well before the lease ends.
            self.assert_progress(cluster, job)
            cluster.paramctl("cancel", job)
            cluster.wait(job, "JOB_STATE_CANCELLED")

    def test_without_etcd_nobody_leads_and_everybody_says_so(self):
        with HighlyAvailableCluster(coordinators=2, leader_lease="2s", lease="60s") as cluster:
            job = cluster.submit(mlp_spec(cluster.directory, steps=ENDLESS))
            cluster.wait_step(job, 20)
            cluster.etcd.pause()
            for name in cluster.addresses:
                eventually(lambda: not cluster.leads(name), f"{name} to give up the lead")
                status, text = cluster.daemons[name].http("/readyz?verbose")
                self.assertEqual(status, 503)
            done = cluster.paramctl("--request-timeout", "2s", "get", job)
            self.assertEqual(done.returncode, 5, done.stderr)
            self.assertIn("etcd", done.stderr)
            cluster.etcd.resume()
            cluster.leader()
            self.assert_progress(cluster, job)  # The daemons' leases have outlived it.
            cluster.paramctl("cancel", job)
            cluster.wait(job, "JOB_STATE_CANCELLED")

    def test_lists_that_make_no_sense_are_refused(self):
        for role in ("server", "worker"):
            for addresses in ("a:1,,b:2", "a:1,a:1", "a:1,b"):
                done = subprocess.run([BINARIES[role], "--coordinator", addresses], capture_output=True, text=True, timeout=20)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertIn("--coordinator", done.stderr)
        done = subprocess.run([BINARIES["paramctl"], "--coordinator", "a:1,a:1", "list"], capture_output=True, text=True, timeout=20)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("named twice", done.stderr)


if __name__ == "__main__":
    unittest.main()
