"""Workers and servers of one host: sockets and shared memory are found, used, given up when they cannot be, and left by nobody."""

import os
import pathlib
import re
import shutil
import tempfile
import unittest

from tests.framework.processes import Cluster, eventually, mlp_spec

ENDLESS = 2_000_000_000  # Steps of a job that is still running when the test has done what it came for.


def streams(cluster, worker, transport):
    """How many streams of the worker to servers go that way now."""
    text = cluster.daemons[worker].http("/metrics")[1]
    lines = re.findall(r'^paramd_worker_streams\{.*transport="(\w+)".*\} (\S+)$', text, re.MULTILINE)
    return sum(int(float(value)) for name, value in lines if name == transport)


def segments(daemon):
    """Shared segments that the process has mapped."""
    return pathlib.Path(f"/proc/{daemon.process.pid}/maps").read_text().count("memfd:paramd-segment")


class LocalTransportTest(unittest.TestCase):
    def setUp(self):
        # Short, as the paths of sockets must be; the daemons get it from this process.
        self.directory = tempfile.mkdtemp(prefix="paramd-test.", dir="/tmp")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        os.environ["XDG_RUNTIME_DIR"] = self.directory

    def sockets(self):
        return sorted(pathlib.Path(self.directory).glob("paramd/*"))

    def test_every_transport_makes_the_same_weights(self):
        # Of servers, of workers, and what must come of it.
        cases = [
            ([], [], "shared_memory"),
            ([], ["--checksum", "always"], "shared_memory"),
            ([], ["--shared-memory", "off"], "unix"),
            (["--shared-memory", "off"], [], "unix"),
            (["--local-socket", "off"], [], "tcp"),
            ([], ["--transport", "tcp"], "tcp"),
            ([], ["--transport", "unix", "--streams-per-server", "1"], "shared_memory"),
        ]
        hashes = set()
        for server_flags, worker_flags, transport in cases:
            with self.subTest(server=server_flags, worker=worker_flags):
                with Cluster(servers=0, workers=0) as cluster:
                    for i in range(2):
                        cluster.start_server(f"server-{i}", *server_flags)
                        cluster.start_worker(f"worker-{i}", *worker_flags)
                    cluster.wait_ready(4)
                    job = cluster.submit(mlp_spec(cluster.directory, workers=2, servers=2, steps=ENDLESS))
                    wanted = 2 if "--streams-per-server" in worker_flags else 4
                    for worker in ("worker-0", "worker-1"):
                        eventually(lambda: streams(cluster, worker, transport) == wanted, f"{worker}'s streams by {transport}")
                    cluster.paramctl("cancel", job)
                    cluster.wait(job, "JOB_STATE_CANCELLED")
                    job = cluster.submit(mlp_spec(cluster.directory, workers=2, servers=2))
                    hashes.add(cluster.wait(job, "JOB_STATE_SUCCEEDED")["final_weights_sha256"])
        self.assertEqual(len(hashes), 1)

    def test_sockets_are_demanded_in_vain(self):
        with Cluster(servers=0, workers=0) as cluster:
            cluster.start_server("server-0", "--local-socket", "off")
            cluster.start_worker("worker-0", "--transport", "unix")
            cluster.wait_ready(2)
            ended = cluster.wait(cluster.submit(mlp_spec(cluster.directory)), "JOB_STATE_FAILED", seconds=60)
            self.assertIn("unix", ended["message"])

    def test_killed_worker_leaves_no_memory(self):
        with Cluster(servers=1, workers=1) as cluster:
            job = cluster.submit(mlp_spec(cluster.directory, steps=ENDLESS))
            cluster.wait_step(job, 5)
            server = cluster.daemons["server-0"]
            self.assertGreaterEqual(segments(server), 1)
            cluster.daemons["worker-0"].kill()
            eventually(lambda: segments(server) == 0, "the server to let go of the worker's memory")
            eventually(lambda: cluster.job(job)["reason"] == "WAITING_FOR_WORKERS", "the job to wait for a worker")

    def test_killed_server_leaves_no_memory_and_its_socket_goes_with_the_next(self):
        with Cluster(servers=1, workers=1) as cluster:
            job = cluster.submit(mlp_spec(cluster.directory, steps=ENDLESS))
            cluster.wait_step(job, 5)
            worker = cluster.daemons["worker-0"]
            self.assertEqual(segments(worker), 1)
            self.assertEqual(len(self.sockets()), 1)
            dead = self.sockets()
            cluster.daemons["server-0"].kill()
            cluster.wait(job, "JOB_STATE_PENDING")
            self.assertEqual(cluster.paramctl("cancel", job).returncode, 0)
            eventually(lambda: segments(worker) == 0, "the worker to free its memory")
            self.assertEqual(self.sockets(), dead)
            cluster.start_server("server-0")
            eventually(lambda: len(self.sockets()) == 1 and self.sockets() != dead, "the dead server's socket to go")
            cluster.wait_ready(2)
            cluster.wait(cluster.submit(mlp_spec(cluster.directory)), "JOB_STATE_SUCCEEDED")

    def test_stopped_server_leaves_nothing(self):
        with Cluster(servers=2, workers=0) as cluster:
            self.assertEqual(len(self.sockets()), 2)
            for name in ("server-0", "server-1"):
                self.assertEqual(cluster.daemons[name].terminate(), 0)
            self.assertEqual(self.sockets(), [])

    def test_socket_path_in_use(self):
        path = self.directory + "/s.sock"
        with Cluster(servers=0, workers=0) as cluster:
            cluster.start_server("server-0", "--local-socket", path)
            with self.assertRaisesRegex(AssertionError, "exited with 1(.|\n)*" + re.escape(path)):
                cluster.start_server("server-1", "--local-socket", path)
            cluster.start_worker("worker-0", "--transport", "unix")
            job = cluster.submit(mlp_spec(cluster.directory))
            cluster.wait(job, "JOB_STATE_SUCCEEDED")


if __name__ == "__main__":
    unittest.main()
