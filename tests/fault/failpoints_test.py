"""Failpoints x what a job does about them, with real processes. A case whose fault never fired fails."""

import pathlib
import subprocess
import unittest

from tests.fault.fault_jobs import CHUNKS, CLUSTER, STEPS, fault_spec, hash_without_faults
from tests.framework.faults import FaultCluster
from tests.framework.processes import BINARIES, eventually

# Faults that training survives with the same bits: (name, failpoints by daemon, what must have been counted).
# Counted: (daemons, series, label, least value).
SURVIVED = [
    (
        "a push is sent twice",
        {"worker-0": "client.send.twice=on@p=0.3,seed=3", "worker-1": "client.send.twice=on@p=0.3,seed=4"},
        [("server", "paramd_gradients_dropped_total", 'reason="duplicate"', 5)],
    ),
    (
        "a push is damaged",
        {"worker-0": "client.send.damaged=on@from=7,times=2"},
        [
            ("server", "paramd_gradients_dropped_total", 'reason="damaged"', 2),
            ("worker-0", "paramd_worker_request_retries_total", "", 2),
        ],
    ),
    (
        "weights arrive damaged",
        {"worker-1": "client.land=fail(DATA_LOSS)@from=8,times=2"},
        [("worker-1", "paramd_worker_request_retries_total", "", 2)],
    ),
    (
        "answers say come back later",
        {"worker-0": "client.receive=fail(UNAVAILABLE)@p=0.04,seed=2"},
        [
            ("worker-0", "paramd_worker_request_retries_total", "", 2),
            ("server", "paramd_gradients_dropped_total", 'reason="duplicate"', 2),
        ],
    ),
    (
        "a server ends a stream",
        {"server-1": "server.receive=fail(UNAVAILABLE)@hit=25"},
        [("worker", "paramd_worker_reconnections_total", "", 1)],
    ),
    (
        "servers are slow in places",
        {
            "server-0": "server.answer=delay(15)@p=0.1,seed=5;server.applied=delay(20)@p=0.1,seed=6",
            "server-1": "server.handle=delay(10)@p=0.1,seed=7;server.norm.total=delay(20)@p=0.2,seed=8",
        },
        [],
    ),
    ("a worker is slow", {"worker-1": "worker.push=delay(10)@p=0.3,seed=9;client.send=delay(5)@p=0.3,seed=1"}, []),
    ("norms do not reach the lead", {"server-1": "server.norm.send=fail(UNAVAILABLE)@p=0.2,seed=4"}, []),
    ("the lead takes no norms for a while", {"server-0": "server.norm.receive=fail(UNAVAILABLE)@from=5,times=6"}, []),
    ("heartbeats are lost", {"worker-0": "session.heartbeat=fail(UNAVAILABLE)@times=2"}, []),
    (
        "sessions break with reports on their way",
        {
            "worker-0": "session.report.send=fail(UNAVAILABLE)@hit=2",
            "worker-1": "session.report.acknowledged=fail(UNAVAILABLE)@hit=1",
        },
        [],
    ),
    ("a session breaks instead of a command", {"server-0": "session.command=fail(UNAVAILABLE)@hit=1"}, []),
    ("the coordinator refuses reports", {"coordinator": "coordinator.report=fail(UNAVAILABLE)@from=2,times=2"}, []),
    ("stored reports are not acknowledged", {"coordinator": "coordinator.report.stored=fail(UNAVAILABLE)@times=3"}, []),
    ("commands break sessions", {"coordinator": "coordinator.command=fail(UNAVAILABLE)@from=2,times=2"}, []),
    ("the job store fails for a while", {"coordinator": "store.commit=fail(UNAVAILABLE)@from=3,times=3"}, []),
]

# Kills of the coordinator; it is started again, and the job goes on.
COORDINATOR_KILLS = [
    "coordinator.place=abort",
    "store.commit=abort@hit=2",
    "store.committed=abort@hit=4",
    "coordinator.report.stored=abort@hit=3",
]

# Faults that end the job, with a reason that a person can act on: (failpoints, reason, fragments of the message).
ENDED = [
    ({"worker-1": "worker.data.open=fail(NOT_FOUND,no such corpus)"}, "FAILPOINT", ["worker-1", "no such corpus"]),
    ({"worker-0": "worker.data.read=fail(DATA_LOSS,bad sector)@hit=9"}, "FAILPOINT", ["worker-0", "bad sector"]),
    ({"worker-0": "worker.evaluate=fail(INTERNAL,no luck)"}, "FAILPOINT", ["worker-0", "no luck"]),
    ({"server-1": "server.prepare=fail(RESOURCE_EXHAUSTED,no room)"}, "FAILPOINT", ["server-1", "no room"]),
    ({"server-0": "weights.fetched=fail(INTERNAL,no disk)"}, "FAILPOINT", ["server-0", "no disk"]),
]

# Faults of the lead server's disk while weights are saved: (rule, reason). The port file is the first of the files.
DISK = [
    ("file.write=errno(ENOSPC)@from=2", "NO_SPACE"),
    ("file.write=torn(512)@hit=2", "FILE_ERROR"),
    ("file.sync=errno(EIO)@from=2", "FILE_ERROR"),
    ("directory.make=errno(EROFS)@from=2", "PERMISSION_DENIED"),
    ("directory.rename=errno(EIO)", "FILE_ERROR"),
]


# Points that a job without faults passes: by rules that do nothing but count.
PASSED = [
    *("file.*", "directory.*", "session.*", "coordinator.*", "store.*", "server.*", "weights.*", "worker.*"),
    *("client.connect", "client.send", "client.receive", "client.land"),
]
# Not in such a job: what only a fault brings about, reads of files and jobs that it has no need of, and shared memory.
NOT_PASSED = {
    *("directory.remove", "file.open", "file.read", "session.lease.lost", "coordinator.lease.expired"),
    *("store.read", "server.attach"),
}


class FailpointsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.expected = hash_without_faults()

    def assert_fired(self, run, failpoints):
        for daemon in failpoints:
            self.assertGreater(run.fired(daemon), 0, f"no fault happened at {daemon}")

    def test_faults_that_training_survives(self):
        for name, failpoints, counted in SURVIVED:
            with self.subTest(name), FaultCluster(failpoints, **CLUSTER) as cluster:
                run = cluster.run(fault_spec(cluster.directory))
                self.assertEqual(run.job["state"], "JOB_STATE_SUCCEEDED", run.job.get("message"))
                self.assert_fired(run, failpoints)
                for daemons, series, label, least in counted:
                    self.assertGreaterEqual(run.metric(daemons, series, label), least, series)
                self.assertEqual(run.job["final_weights_sha256"], self.expected)

    def test_a_job_passes_the_points(self):
        counting = ";".join(f"{points}=delay(0)" for points in PASSED)
        daemons = ("coordinator", "server-0", "server-1", "worker-0", "worker-1")
        with FaultCluster({name: counting for name in daemons}, **CLUSTER) as cluster:
            run = cluster.run(fault_spec(cluster.directory))
            self.assertEqual(run.job["final_weights_sha256"], self.expected)
            hits = run.by_label("paramd_failpoint_hits_total", "name")
            self.assertGreaterEqual(len(hits), 50)
            self.assertEqual({name for name, count in hits.items() if count == 0} - NOT_PASSED, set())

    def test_refused_shared_memory_goes_through_the_socket(self):
        failpoints = {"server-0": "server.attach=fail(RESOURCE_EXHAUSTED,no room for maps)"}
        with FaultCluster(failpoints, worker_flags=(), **CLUSTER) as cluster:
            run = cluster.run(fault_spec(cluster.directory))
            self.assert_fired(run, failpoints)
            self.assertEqual(run.metric("worker", "paramd_worker_shared_memory_refusals_total"), 4, "two streams a worker")
            self.assertEqual(run.job["final_weights_sha256"], self.expected)

    def test_pushes_of_async_jobs_are_applied_once(self):
        failpoints = {
            "worker-0": "client.send.twice=on@p=0.3,seed=3",
            "worker-1": "client.receive=fail(UNAVAILABLE)@p=0.05,seed=5",
        }
        with FaultCluster(failpoints, **CLUSTER) as cluster:
            run = cluster.run(fault_spec(cluster.directory, sync={"mode": "async"}))
            self.assertEqual(run.job["state"], "JOB_STATE_SUCCEEDED", run.job.get("message"))
            self.assert_fired(run, failpoints)
            self.assertGreater(run.metric("server", "paramd_gradients_dropped_total", 'reason="duplicate"'), 0)
            self.assertEqual(run.metric("server", "paramd_updates_applied_total"), STEPS * 2 * CHUNKS)

    def test_killed_coordinator_comes_back(self):
        for rule in COORDINATOR_KILLS:
            with self.subTest(rule), FaultCluster({"coordinator": rule}, lease="5s", **CLUSTER) as cluster:
                listen = cluster.coordinator
                spec = fault_spec(cluster.directory)
                job = cluster.submit(spec, "--job-id", "survivor", "--request-id", "once")
                self.assertIn(rule.split("=")[0], cluster.await_death("coordinator"))
                cluster.start_coordinator(listen)
                ended = cluster.wait(job, "JOB_STATE_SUCCEEDED")
                self.assertEqual(ended["final_weights_sha256"], self.expected)
                # Submitted again, it is the same job.
                self.assertEqual(cluster.submit(spec, "--job-id", "survivor", "--request-id", "once"), job)

    def test_submission_that_died_with_its_transaction_can_be_repeated(self):
        for rule, stored in (("store.commit=abort", False), ("store.committed=abort", True)):
            with self.subTest(rule), FaultCluster({"coordinator": rule}, **CLUSTER) as cluster:
                listen = cluster.coordinator
                spec = fault_spec(cluster.directory)
                with self.assertRaises(AssertionError):
                    cluster.submit(spec, "--request-id", "once", "--request-timeout", "2s")
                self.assertIn("failpoint store.", cluster.await_death("coordinator"))
                cluster.start_coordinator(listen)
                self.assertEqual(len(cluster.json("list").get("jobs", [])), 1 if stored else 0)
                job = cluster.wait(cluster.submit(spec, "--request-id", "once"), "JOB_STATE_SUCCEEDED")
                self.assertEqual(job["final_weights_sha256"], self.expected)
                self.assertEqual(len(cluster.json("list")["jobs"]), 1)

    def test_faults_that_end_the_job_are_named(self):
        for failpoints, reason, fragments in ENDED:
            with self.subTest(failpoints), FaultCluster(failpoints, **CLUSTER) as cluster:
                run = cluster.run(fault_spec(cluster.directory))
                self.assertEqual((run.job["state"], run.job["reason"]), ("JOB_STATE_FAILED", reason))
                self.assert_fired(run, failpoints)
                for fragment in fragments:
                    self.assertIn(fragment, run.job["message"])

    def test_disk_faults_leave_no_half_saved_weights(self):
        for rule, reason in DISK:
            with self.subTest(rule), FaultCluster({"server-0": rule, "server-1": rule}, **CLUSTER) as cluster:
                run = cluster.run(fault_spec(cluster.directory, steps=3))
                self.assertEqual((run.job["state"], run.job["reason"]), ("JOB_STATE_FAILED", reason))
                self.assertGreater(run.fired("server"), 0)
                output = cluster.directory / "output"
                self.assertIn(str(output), run.job["message"])
                self.assertFalse((output / run.job_id).exists())

    def test_server_that_dies_while_saving_leaves_no_half_saved_weights(self):
        for rule in ("file.write=torn(512,abort)@hit=2", "weights.model.written=abort", "weights.written=abort"):
            with self.subTest(rule), FaultCluster({"server-0": rule, "server-1": rule}, **CLUSTER) as cluster:
                job = cluster.submit(fault_spec(cluster.directory, steps=3))
                names = ["server-0", "server-1"]
                dead = eventually(lambda: [name for name in names if cluster.daemons[name].process.poll() is not None], "the lead to die")
                self.assertEqual(len(dead), 1)
                self.assertIn("abort", cluster.await_death(dead[0]))
                cluster.wait(job, "JOB_STATE_PENDING")
                output = cluster.directory / "output" / job
                self.assertFalse(output.exists())
                for name in sorted(names, key=lambda name: name in dead):  # Without the fault now, both of them.
                    cluster.start_server(name)
                cluster.wait(job, "JOB_STATE_SUCCEEDED")
                self.assertEqual(sorted(path.name for path in output.iterdir()), ["job.json", "model.safetensors"])


class RulesTest(unittest.TestCase):
    def test_wrong_rules_end_the_daemon(self):
        for role in ("coordinator", "server", "worker"):
            with self.subTest(role):
                done = subprocess.run(
                    [BINARIES[role], "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"],
                    env={"PARAMD_FAILPOINTS": "store.comit=abort"},
                    cwd=pathlib.Path.cwd(),
                    capture_output=True,
                    text=True,
                    timeout=30,
                )
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertIn('no failpoint "store.comit"; there are file.open, ', done.stderr)


if __name__ == "__main__":
    unittest.main()
