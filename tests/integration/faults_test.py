"""Processes that die, stop, come late or come back: nothing hangs, and the reason names who it was."""

import unittest

from tests.framework.processes import Cluster, eventually, mlp_spec

ENDLESS = 2_000_000_000  # Steps of a job that is still running when the test has done what it came for.


class FaultsTest(unittest.TestCase):
    def running_job(self, cluster, **changes):
        job = cluster.submit(mlp_spec(cluster.directory, steps=ENDLESS, workers=2, servers=2, **changes))
        cluster.wait_step(job, 20)
        return job

    def test_killed_worker_fails_the_job_and_is_named(self):
        with Cluster(servers=2, workers=2) as cluster:
            job = self.running_job(cluster)
            cluster.daemons["worker-1"].kill()
            ended = cluster.wait(job, "JOB_STATE_FAILED", seconds=10)
            self.assertEqual(ended["reason"], "WORKER_LOST")
            self.assertIn("worker-1", ended["message"])
            self.assert_cluster_is_free(cluster, workers=1)

    def test_killed_server_fails_the_job_and_is_named(self):
        with Cluster(servers=2, workers=2) as cluster:
            job = self.running_job(cluster)
            cluster.daemons["server-0"].kill()
            ended = cluster.wait(job, "JOB_STATE_FAILED", seconds=10)
            self.assertEqual(ended["reason"], "SERVER_LOST")
            self.assertIn("server-0", ended["message"])
            self.assert_cluster_is_free(cluster, workers=2)

    def assert_cluster_is_free(self, cluster, workers):
        """The survivors take the next job."""
        job = cluster.submit(mlp_spec(cluster.directory, workers=workers))
        cluster.wait(job, "JOB_STATE_SUCCEEDED")

    def test_restarted_worker_is_a_new_incarnation(self):
        with Cluster(servers=2, workers=2, lease="30s") as cluster:
            job = self.running_job(cluster)
            cluster.daemons["worker-0"].kill()
            cluster.start_worker("worker-0")
            ended = cluster.wait(job, "JOB_STATE_FAILED", seconds=10)  # Well before the old lease ends.
            self.assertEqual(ended["reason"], "WORKER_LOST")

    def test_sigterm_ends_every_daemon_with_0(self):
        with Cluster(servers=1, workers=1) as cluster:
            for name in ("worker-0", "server-0", "coordinator"):
                self.assertEqual(cluster.daemons[name].terminate(), 0, cluster.daemons[name].log())

    def test_sigterm_during_a_job_ends_with_0_and_fails_the_job(self):
        with Cluster(servers=2, workers=2) as cluster:
            job = self.running_job(cluster)
            self.assertEqual(cluster.daemons["worker-0"].terminate(), 0, cluster.daemons["worker-0"].log())
            ended = cluster.wait(job, "JOB_STATE_FAILED", seconds=10)
            self.assertIn("worker-0", ended["message"])

    def test_job_waits_for_workers_and_says_so(self):
        with Cluster(servers=1, workers=1) as cluster:
            job = cluster.submit(mlp_spec(cluster.directory, workers=2))
            waiting = eventually(
                lambda: (lambda j: j if j["reason"] != "QUEUED" else None)(cluster.job(job)), "the reason of waiting"
            )
            self.assertEqual((waiting["state"], waiting["reason"]), ("JOB_STATE_PENDING", "INSUFFICIENT_WORKERS"))
            self.assertRegex(waiting["message"], r"2.*1")
            cluster.start_worker("worker-late")
            cluster.wait(job, "JOB_STATE_SUCCEEDED")

    def test_two_jobs_run_at_once_when_there_is_room(self):
        with Cluster(servers=1, workers=2) as cluster:
            jobs = [cluster.submit(mlp_spec(cluster.directory, steps=ENDLESS)) for _ in range(2)]
            for job in jobs:
                cluster.wait_step(job, 10)
            for job in jobs:
                self.assertEqual(cluster.paramctl("cancel", job).returncode, 0)
                cluster.wait(job, "JOB_STATE_CANCELLED")

    def test_cancel_with_save_keeps_weights_of_a_common_step(self):
        with Cluster(servers=2, workers=2) as cluster:
            job = self.running_job(cluster)
            self.assertEqual(cluster.paramctl("cancel", job, "--save").returncode, 0)
            ended = cluster.wait(job, "JOB_STATE_CANCELLED")
            self.assertRegex(ended["final_weights_sha256"], "^[0-9a-f]{64}$")
            # The same job with that many steps ends with the same bits.
            step = int(ended["progress"]["step"])
            again = cluster.submit(mlp_spec(cluster.directory, steps=step))
            repeated = cluster.wait(again, "JOB_STATE_SUCCEEDED")
            self.assertEqual(repeated["final_weights_sha256"], ended["final_weights_sha256"])

    def test_coordinator_restart_keeps_history_and_running_jobs(self):
        with Cluster(servers=1, workers=1, lease="5s") as cluster:
            done = cluster.submit(mlp_spec(cluster.directory))
            cluster.wait(done, "JOB_STATE_SUCCEEDED")
            going = cluster.submit(mlp_spec(cluster.directory, steps=ENDLESS))
            cluster.wait_step(going, 20)
            events = cluster.paramctl("events", done).stdout
            listen = cluster.coordinator
            cluster.daemons["coordinator"].kill()
            cluster.start_coordinator(listen)
            self.assertEqual(cluster.paramctl("events", done).stdout, events)
            before = cluster.step(going)
            cluster.wait_step(going, before + 50)
            self.assertEqual(cluster.job(going)["state"], "JOB_STATE_RUNNING")
            cluster.paramctl("cancel", going)
            cluster.wait(going, "JOB_STATE_CANCELLED")


if __name__ == "__main__":
    unittest.main()
