"""The coordinator dies while a job trains: steps go on without it, and the one that comes back loses nothing."""

import re
import time
import unittest

from tests.framework.processes import Cluster, eventually, mlp_spec

ENDLESS = 2_000_000_000  # Steps of a job that only tells how fast steps are.


def spec(cluster, steps):
    training = {"steps": steps, "slots": 4, "micro_batch": 16, "evaluate_every": 400}
    return mlp_spec(cluster.directory, steps=steps, workers=2, servers=2, training=training)


def applied(cluster, job):
    """Steps of the job that the first server has applied, as the server itself says."""
    text = cluster.daemons["server-0"].http("/metrics")[1]
    found = re.search(rf'^paramd_global_step\{{train_job="{job}"\}} (\S+)$', text, re.MULTILINE)
    return int(float(found.group(1))) if found else 0


def steps_per_second(cluster):
    job = cluster.submit(spec(cluster, ENDLESS))
    cluster.wait_step(job, 50)
    start, first = time.monotonic(), applied(cluster, job)
    time.sleep(1.5)
    rate = (applied(cluster, job) - first) / (time.monotonic() - start)
    cluster.paramctl("cancel", job)
    cluster.wait(job, "JOB_STATE_CANCELLED")
    return rate


def undisturbed_and_begun(cluster, seconds):
    """The steps of a job that lasts about so long; that job, ended, to which nothing happened; its like, which trains now."""
    steps = max(1000, int(steps_per_second(cluster) * seconds))
    undisturbed = cluster.wait(cluster.submit(spec(cluster, steps)), "JOB_STATE_SUCCEEDED", 120)
    job = cluster.submit(spec(cluster, steps))
    cluster.wait_step(job, 20)
    return steps, undisturbed, job


class CoordinatorLossTest(unittest.TestCase):
    def assert_same_result(self, undisturbed, disturbed):
        self.assertEqual(disturbed["final_weights_sha256"], undisturbed["final_weights_sha256"])
        for field in ("step", "validation_step", "validation_loss", "loss"):
            self.assertEqual(disturbed["progress"][field], undisturbed["progress"][field], field)

    def kill_while_training(self, worker_flags, transport):
        with Cluster(servers=2, workers=2, lease="20s", worker_flags=worker_flags) as cluster:
            _, undisturbed, job = undisturbed_and_begun(cluster, 12)
            used = re.findall(r'^paramd_worker_streams\{.*transport="(\w+)".*\} [1-9]', cluster.daemons["worker-0"].http("/metrics")[1], re.MULTILINE)
            self.assertEqual(used, [transport])
            address = cluster.coordinator
            for _ in range(2):
                cluster.daemons["coordinator"].kill()
                before = applied(cluster, job)
                eventually(lambda: applied(cluster, job) >= before + 100, "steps without a coordinator")
                self.assertIsNotNone(cluster.daemons["coordinator"].process.poll())
                cluster.start_coordinator(address)
                known = cluster.step(job)
                cluster.wait_step(job, known + 20)  # Daemons are back and report.
            self.assertEqual(cluster.job(job)["state"], "JOB_STATE_RUNNING", "invalid run: the job ended before the last kill")
            disturbed = cluster.wait(job, "JOB_STATE_SUCCEEDED", 120)
            self.assert_same_result(undisturbed, disturbed)
            self.assertEqual(cluster.paramctl("events", job).stdout.count("COORDINATOR_RESTARTED"), 2)

    def test_steps_go_on_with_local_addresses_in_the_placement(self):
        self.kill_while_training([], "shared_memory")

    def test_steps_go_on_over_tcp(self):
        self.kill_while_training(["--transport", "tcp"], "tcp")

    def test_an_outage_longer_than_the_leases(self):
        with Cluster(servers=2, workers=2, lease="2s") as cluster:
            steps, undisturbed, job = undisturbed_and_begun(cluster, 8)
            address = cluster.coordinator
            cluster.daemons["coordinator"].kill()
            for name in ("server-0", "server-1", "worker-0", "worker-1"):
                eventually(lambda: "lease of" in cluster.daemons[name].log(), f"the end of the lease of {name}")
            stopped = applied(cluster, job)
            time.sleep(1)
            self.assertEqual(applied(cluster, job), stopped, "served without a lease")
            self.assertLess(stopped, steps, "invalid run: the job ended before the leases did")
            cluster.start_coordinator(address)
            disturbed = cluster.wait(job, "JOB_STATE_SUCCEEDED", 120)
            self.assert_same_result(undisturbed, disturbed)
            self.assertNotIn("dropping all jobs", cluster.daemons["server-0"].log())

    def test_what_was_reported_to_nobody_is_reported_again(self):
        with Cluster(servers=2, workers=2, lease="60s") as cluster:
            steps, undisturbed, job = undisturbed_and_begun(cluster, 3)
            address = cluster.coordinator
            cluster.daemons["coordinator"].kill()
            self.assertLess(applied(cluster, job), steps, "invalid run: the job ended before the kill")
            # The last steps, the last evaluation and the end of training have nobody to be told to.
            eventually(lambda: applied(cluster, job) >= steps, "all steps without a coordinator", 60)
            cluster.start_coordinator(address)
            disturbed = cluster.wait(job, "JOB_STATE_SUCCEEDED", 60)
            self.assert_same_result(undisturbed, disturbed)
            evaluations = lambda j: re.findall(r"step \d+: validation loss \S+", cluster.paramctl("events", j).stdout)
            self.assertEqual(evaluations(job), evaluations(undisturbed["job_id"]))


if __name__ == "__main__":
    unittest.main()
