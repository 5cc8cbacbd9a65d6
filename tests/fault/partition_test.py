"""Networks that part for ten seconds, several leases long: nobody is told to do anything, and the same bits come out."""

import time
import unittest

from tests.fault.fault_jobs import CLUSTER
from tests.framework.faults import FaultCluster
from tests.framework.processes import Cluster, eventually, mlp_spec

APART = 10  # Seconds; a lease is 2.
STEPS = 2500
SPEC = {
    "training": {"steps": STEPS, "slots": 4, "micro_batch": 16},
    "optimizer": {"type": "adam", "learning_rate": 0.002, "clip_norm": 1.0},
    "checkpoint": {"every_steps": 50},
}
# A step takes some milliseconds: the job lasts beyond the partition.
SLOW = {"worker-0": "worker.push=delay(2)", "worker-1": "worker.push=delay(2)"}


class PartitionTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with Cluster() as cluster:
            job = cluster.submit(mlp_spec(cluster.directory, **SPEC))
            cls.expected = cluster.wait(job, "JOB_STATE_SUCCEEDED", 120)["final_weights_sha256"]

    def begin(self, cluster):
        job = cluster.submit(mlp_spec(cluster.directory, workers=2, servers=2, **SPEC))
        cluster.wait_step(job, 60)
        return job

    def part(self, cluster, proxies, job, until=None):
        """Nothing gets through for ten seconds; `until` is waited for meanwhile. All connections break then, so that no
        keepalive has to find out that they are dead."""
        self.assertEqual(cluster.job(job)["phase"], "JOB_PHASE_TRAINING")
        start = time.monotonic()
        for proxy in proxies:
            proxy.command("rule both blackhole")
        if until is not None:
            until()
        time.sleep(max(0.0, start + APART - time.monotonic()))
        self.assertNotIn(cluster.job(job)["state"], ("JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED"), "invalid run: over too soon")
        for proxy in proxies:
            proxy.command("rule both pass")
            proxy.command("drop")

    def assert_same_bits(self, cluster, job):
        ended = cluster.wait(job, "JOB_STATE_SUCCEEDED", 120)
        self.assertEqual(ended["final_weights_sha256"], self.expected)

    def events(self, cluster, job):
        return cluster.paramctl("events", job).stdout

    def test_workers_and_servers(self):
        with FaultCluster(SLOW, proxied=True, **CLUSTER) as cluster:
            job = self.begin(cluster)
            self.part(cluster, cluster.proxies.values(), job)
            self.assert_same_bits(cluster, job)

    def test_a_server_and_the_coordinator(self):
        with FaultCluster(SLOW, apart=("server-1",), **CLUSTER) as cluster:
            job = self.begin(cluster)
            lost = lambda: eventually(lambda: " SERVER_LOST " in self.events(cluster, job), "the loss of the server")
            self.part(cluster, [cluster.coordinator_proxies["server-1"]], job, lost)
            self.assert_same_bits(cluster, job)
            self.assertIn("lease of server-1 lost", cluster.daemons["server-1"].log())
            self.assertIn(" RESTORING ", self.events(cluster, job))

    def test_a_worker_and_the_coordinator(self):
        with FaultCluster(SLOW, apart=("worker-1",), **CLUSTER) as cluster:
            job = self.begin(cluster)
            lost = lambda: eventually(lambda: " WORKER_LOST " in self.events(cluster, job), "the loss of the worker")
            self.part(cluster, [cluster.coordinator_proxies["worker-1"]], job, lost)
            eventually(lambda: " WORKER_JOINED " in self.events(cluster, job), "the worker to be back")
            self.assert_same_bits(cluster, job)
            self.assertNotIn(" SERVER_LOST ", self.events(cluster, job))

    def test_everybody_and_the_coordinator(self):
        everybody = ("server-0", "server-1", "worker-0", "worker-1")
        flags = ("--restart-grace", "5s")
        with FaultCluster(SLOW, apart=everybody, coordinator_flags=flags, **CLUSTER) as cluster:
            job = self.begin(cluster)
            self.part(cluster, cluster.coordinator_proxies.values(), job)
            self.assert_same_bits(cluster, job)


if __name__ == "__main__":
    unittest.main()
