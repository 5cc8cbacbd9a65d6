"""Faults of the network between workers and servers x what a job does about them. A fault that never happened fails."""

import time
import unittest

from tests.fault.fault_jobs import CLUSTER, fault_spec, hash_without_faults
from tests.framework.faults import FaultCluster
from tests.framework.processes import eventually

STEPS = 120
# Somewhere in the payload of a worker's first push to a server, and of a server's first answer with weights.
PAYLOAD_BYTE = 60_000


class ProxyTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.expected = hash_without_faults(STEPS)

    def proxied(self):
        return FaultCluster(proxied=True, **CLUSTER)

    def spec(self, cluster):
        return fault_spec(cluster.directory, STEPS)

    def begin(self, cluster):
        """A job that trains, slowly enough to be interfered with: every step waits for the proxies."""
        cluster.command_all("rule both delay 4")
        run = cluster.begin(self.spec(cluster))
        cluster.wait_step(run.job_id, 5)
        run.look()
        self.assertLess(cluster.step(run.job_id), STEPS - 20, "the job is too fast for this test")
        return run

    def assert_same_bits(self, run, seconds=60):
        run.wait(seconds)
        self.assertEqual(run.job["state"], "JOB_STATE_SUCCEEDED", run.job.get("message"))
        self.assertEqual(run.job["final_weights_sha256"], self.expected)

    def test_connections_that_break_are_opened_again(self):
        with self.proxied() as cluster:
            run = self.begin(cluster)
            for name in ("server-0", "server-1", "server-0"):
                self.assertGreaterEqual(int(cluster.proxies[name].command("drop")), 2)
                step = cluster.step(run.job_id)
                cluster.wait_step(run.job_id, step + 5)
                run.look()
            self.assert_same_bits(run)
            self.assertGreaterEqual(run.metric("worker", "paramd_worker_reconnections_total"), 3)

    def test_lost_answers_are_asked_for_again_and_nothing_is_applied_twice(self):
        with self.proxied() as cluster:
            run = self.begin(cluster)
            # What a blackhole swallows may be window updates only, after which neither side sends: then once more.
            for _ in range(8):
                lost = cluster.proxy_counter("down", "lost_bytes")
                cluster.command_all("rule down blackhole")
                eventually(lambda: cluster.proxy_counter("down", "lost_bytes") > lost, "answers to be lost")
                time.sleep(0.3)  # Whatever else is on its way arrives and is answered to nobody.
                cluster.command_all("rule both delay 4")
                cluster.command_all("drop")
                cluster.wait_step(run.job_id, cluster.step(run.job_id) + 3)
                run.look()
                if run.metric("server", "paramd_gradients_dropped_total", 'reason="duplicate"') > 0:
                    break
            self.assert_same_bits(run)
            self.assertGreater(run.metric("worker", "paramd_worker_request_retries_total"), 0)
            self.assertGreater(run.metric("server", "paramd_gradients_dropped_total", 'reason="duplicate"'), 0)

    def test_flipped_bit_of_a_gradient_is_detected(self):
        with self.proxied() as cluster:
            cluster.command_all(f"rule up flip {PAYLOAD_BYTE} 3")
            run = cluster.begin(self.spec(cluster))
            self.assert_same_bits(run)
            self.assertEqual(cluster.proxy_counter("up", "flipped_bits"), 2)
            self.assertEqual(run.metric("server", "paramd_gradients_dropped_total", 'reason="damaged"'), 2)

    def test_flipped_bit_of_weights_is_detected(self):
        with self.proxied() as cluster:
            cluster.command_all(f"rule down flip {PAYLOAD_BYTE} 6")
            run = cluster.begin(self.spec(cluster))
            self.assert_same_bits(run)
            self.assertEqual(cluster.proxy_counter("down", "flipped_bits"), 2)
            self.assertGreaterEqual(run.metric("worker", "paramd_worker_request_retries_total"), 2)

    def test_messages_that_are_cut_off_are_sent_again(self):
        for direction in ("up", "down"):
            with self.subTest(direction), self.proxied() as cluster:
                cluster.command_all(f"rule {direction} truncate {PAYLOAD_BYTE}")
                run = cluster.begin(self.spec(cluster))
                self.assert_same_bits(run)
                self.assertEqual(cluster.proxy_counter(direction, "truncations"), 2)
                self.assertGreaterEqual(run.metric("worker", "paramd_worker_reconnections_total"), 2)

    def test_slow_network_changes_no_bits(self):
        with self.proxied() as cluster:
            cluster.proxies["server-0"].command("rule both delay 5 15")
            cluster.proxies["server-1"].command("rule both throttle 20000000")
            run = cluster.begin(self.spec(cluster))
            self.assert_same_bits(run)
            self.assertGreater(cluster.proxy_counter("up", "delayed_bytes"), 1_000_000)
            self.assertEqual(run.metric("worker", "paramd_worker_reconnections_total"), 0)

    def test_network_that_stands_still_for_a_while(self):
        with self.proxied() as cluster:
            run = self.begin(cluster)
            cluster.command_all("rule both stall")
            time.sleep(1)
            before = cluster.step(run.job_id)
            time.sleep(0.5)
            self.assertEqual(cluster.step(run.job_id), before, "the network stood still")
            cluster.command_all("rule both pass")
            self.assert_same_bits(run)
            self.assertEqual(run.metric("worker", "paramd_worker_reconnections_total"), 0)

    def test_server_that_cannot_be_reached_at_first(self):
        with self.proxied() as cluster:
            cluster.proxies["server-1"].command("refuse on")
            run = cluster.begin(self.spec(cluster))
            eventually(lambda: cluster.proxy_counter("refused") >= 2, "connections to be refused")
            cluster.proxies["server-1"].command("refuse off")
            self.assert_same_bits(run)

    def test_half_open_connection_is_noticed(self):
        # The client hears nothing, not even that nobody is there: its keepalive finds out, in 20 s.
        with self.proxied() as cluster:
            run = self.begin(cluster)
            self.assertGreaterEqual(int(cluster.proxies["server-1"].command("half_open server")), 2)
            cluster.command_all("rule both pass")
            self.assert_same_bits(run, seconds=90)
            self.assertGreater(run.metric("worker", "paramd_worker_reconnections_total"), 0)


if __name__ == "__main__":
    unittest.main()
