"""Processes that die, stop, come late or come back: nothing hangs, and the reason names who it was."""

import unittest

from tests.framework.processes import Cluster, eventually, mlp_spec

ENDLESS = 2_000_000_000  # Steps of a job that is still running when the test has done what it came for.


class FaultsTest(unittest.TestCase):
    def running_job(self, cluster, **changes):
        job = cluster.submit(mlp_spec(cluster.directory, steps=ENDLESS, workers=2, servers=2, **changes))
        cluster.wait_step(job, 20)
        return job

    def wait_event(self, cluster, job, reason, seconds=30):
        """The first line of `paramctl events` with this reason."""

        def line():
            lines = cluster.paramctl("events", job).stdout.splitlines()
            return next((line for line in lines if f" {reason} " in line), None)

        return eventually(line, f"event {reason} of {job}", seconds)

    def assert_same_bits_alone(self, cluster, job, **changes):
        """The job ends with the weights of the same steps trained by one worker to whom nothing happens."""
        ended = cluster.wait(job, "JOB_STATE_SUCCEEDED", seconds=120)
        reference = cluster.submit(mlp_spec(cluster.directory, **changes))
        alone = cluster.wait(reference, "JOB_STATE_SUCCEEDED", seconds=120)
        self.assertEqual(ended["final_weights_sha256"], alone["final_weights_sha256"])

    def test_killed_worker_is_replaced_by_the_others_without_another_bit(self):
        for steps, clip in ((3000, 0.0), (2000, 1.0)):
            with self.subTest(clip_norm=clip), Cluster(servers=2, workers=3) as cluster:
                changes = {
                    "training": {"steps": steps, "slots": 7, "micro_batch": 16},
                    "optimizer": {"type": "adamw", "learning_rate": 0.002, "clip_norm": clip},
                }
                job = cluster.submit(mlp_spec(cluster.directory, workers=3, servers=2, **changes))
                cluster.wait_step(job, 100)
                cluster.daemons["worker-1"].kill()
                self.assertIn("worker-1", self.wait_event(cluster, job, "WORKER_LOST"))
                self.wait_event(cluster, job, "GENERATION_CHANGED")
                self.assert_same_bits_alone(cluster, job, **changes)

    def test_workers_that_all_die_come_back_without_another_bit(self):
        with Cluster(servers=2, workers=2) as cluster:
            training = {"training": {"steps": 3000, "slots": 5, "micro_batch": 16}}
            job = cluster.submit(mlp_spec(cluster.directory, workers=2, servers=2, **training))
            for round in range(3):
                cluster.wait_step(job, cluster.step(job) + 20)
                cluster.daemons["worker-0"].kill()
                cluster.daemons["worker-1"].kill()
                cluster.start_worker("worker-0")
                cluster.start_worker("worker-1")
            self.wait_event(cluster, job, "WORKER_JOINED")
            self.assert_same_bits_alone(cluster, job, **training)

    def test_job_grows_and_shrinks_without_another_bit(self):
        with Cluster(servers=1, workers=3) as cluster:
            training = {"training": {"steps": 4000, "slots": 8, "micro_batch": 16}}
            job = cluster.submit(mlp_spec(cluster.directory, workers=1, **training))
            cluster.wait_step(job, 20)
            self.assertEqual(cluster.paramctl("scale", job, "--workers", "3").returncode, 0)
            self.wait_event(cluster, job, "WORKER_JOINED")
            eventually(lambda: len(cluster.job(job)["placement"]["workers"]) == 3, "three workers")
            cluster.wait_step(job, cluster.step(job) + 50)
            self.assertEqual(cluster.paramctl("scale", job, "--workers", "1").returncode, 0)
            self.assertEqual(len(cluster.job(job)["placement"]["workers"]), 1)
            refused = cluster.paramctl("scale", job, "--workers", "9")
            self.assertNotEqual(refused.returncode, 0)
            self.assertIn("1..8", refused.stderr)
            self.assert_same_bits_alone(cluster, job, **training)

    def test_clocked_modes_go_on_without_a_killed_worker(self):
        for mode in ("ssp", "async"):
            with self.subTest(mode=mode), Cluster(servers=2, workers=2) as cluster:
                job = self.running_job(cluster, sync={"mode": mode})
                cluster.daemons["worker-0"].kill()
                self.wait_event(cluster, job, "GENERATION_CHANGED")
                cluster.wait_step(job, cluster.step(job) + 50)
                cluster.start_worker("worker-new")
                self.wait_event(cluster, job, "WORKER_JOINED")
                cluster.wait_step(job, cluster.step(job) + 50)
                self.assertEqual(cluster.job(job)["state"], "JOB_STATE_RUNNING")
                self.assertEqual(cluster.paramctl("cancel", job).returncode, 0)
                cluster.wait(job, "JOB_STATE_CANCELLED")

    def test_killed_servers_come_back_without_another_bit(self):
        for every_steps, killed in ((25, ("server-0", "server-1")), (0, ("server-1",))):
            with self.subTest(every_steps=every_steps), Cluster(servers=2, workers=2) as cluster:
                changes = {
                    "training": {"steps": 3000, "slots": 5, "micro_batch": 16},
                    "optimizer": {"type": "adamw", "learning_rate": 0.002, "clip_norm": 1.0},
                    "checkpoint": {"every_steps": every_steps},
                }
                job = cluster.submit(mlp_spec(cluster.directory, workers=2, servers=2, **changes))
                for name in killed:
                    cluster.wait_step(job, cluster.step(job) + 100)
                    cluster.daemons[name].kill()
                    cluster.wait(job, "JOB_STATE_PENDING")
                    cluster.start_server(name)
                self.assert_same_bits_alone(cluster, job, **changes)
                events = cluster.paramctl("events", job).stdout
                self.assertEqual(events.count(" RECOVERING "), len(killed))
                self.assertIn("checkpoints; attempt 1 of 5" if every_steps else "the initial weights", events)

    def test_a_spare_server_takes_the_place_of_a_killed_one(self):
        with Cluster(servers=3, workers=2) as cluster:
            job = self.running_job(cluster, checkpoint={"every_steps": 20})
            placed = [server["node_id"] for server in cluster.job(job)["placement"]["servers"]]
            cluster.daemons[placed[0]].kill()
            self.assertIn(placed[0], self.wait_event(cluster, job, "SERVER_LOST"))
            self.wait_event(cluster, job, "RESTORING")
            cluster.wait_step(job, cluster.step(job) + 50)
            now = {server["node_id"] for server in cluster.job(job)["placement"]["servers"]}
            self.assertEqual(now, {"server-0", "server-1", "server-2"} - {placed[0]})

    def test_without_recoveries_a_killed_server_fails_the_job_and_is_named(self):
        with Cluster(servers=2, workers=2, coordinator_flags=("--max-recoveries", "0")) as cluster:
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
            self.wait_event(cluster, job, "WORKER_LOST", seconds=10)  # Well before the old lease ends.
            self.assertIn("worker-0", self.wait_event(cluster, job, "WORKER_JOINED"))

    def test_sigterm_ends_every_daemon_with_0(self):
        with Cluster(servers=1, workers=1) as cluster:
            for name in ("worker-0", "server-0", "coordinator"):
                self.assertEqual(cluster.daemons[name].terminate(), 0, cluster.daemons[name].log())

    def test_sigterm_of_a_worker_during_a_job_ends_with_0_and_the_job_goes_on(self):
        with Cluster(servers=2, workers=2) as cluster:
            job = self.running_job(cluster)
            self.assertEqual(cluster.daemons["worker-0"].terminate(), 0, cluster.daemons["worker-0"].log())
            self.assertIn("worker-0", self.wait_event(cluster, job, "WORKER_LOST", seconds=10))
            cluster.wait_step(job, cluster.step(job) + 50)

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
