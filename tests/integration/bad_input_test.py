"""Wrong flags, specs, files and calls: a clear line, the right exit code, and nothing lost."""

import json
import pathlib
import socket
import subprocess
import tempfile
import unittest

from tests.framework.processes import BINARIES, Cluster, mlp_spec


def run(role, *flags):
    return subprocess.run([BINARIES[role], *flags], capture_output=True, text=True, timeout=30)


class FlagsTest(unittest.TestCase):
    def test_unknown_flag(self):
        for role in ("coordinator", "server", "worker", "paramctl"):
            with self.subTest(role):
                done = run(role, "--no-such-flag")
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertIn("no-such-flag", done.stderr)

    def test_version_and_help(self):
        for role in ("coordinator", "server", "worker"):
            with self.subTest(role):
                self.assertEqual(run(role, "--version").returncode, 0)
                usage = run(role, "--help")
                self.assertEqual(usage.returncode, 0)
                self.assertIn("--listen", usage.stdout)

    def test_bad_address(self):
        for role in ("coordinator", "server", "worker"):
            with self.subTest(role):
                done = run(role, "--listen", "nonsense")
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertIn("--listen", done.stderr)

    def test_port_in_use(self):
        with socket.socket() as taken, tempfile.TemporaryDirectory() as directory:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = "127.0.0.1:%d" % taken.getsockname()[1]
            flags = {
                "coordinator": ["--data-dir", directory],
                "server": ["--output-dir", directory, "--coordinator", "127.0.0.1:1"],
                "worker": ["--coordinator", "127.0.0.1:1"],
            }
            for role, more in flags.items():
                for flag, other in (("--listen", "--metrics-listen"), ("--metrics-listen", "--listen")):
                    with self.subTest(role=role, flag=flag):
                        done = run(role, flag, address, other, "127.0.0.1:0", *more)
                        self.assertEqual(done.returncode, 1, done.stderr)
                        self.assertIn(address, done.stderr)

    def test_unwritable_directories(self):
        with tempfile.TemporaryDirectory() as directory:
            file = pathlib.Path(directory) / "file"
            file.write_text("not a directory")
            for role, flag in (("coordinator", "--data-dir"), ("server", "--output-dir")):
                with self.subTest(role):
                    done = run(role, flag, f"{file}/below", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")
                    self.assertEqual(done.returncode, 2, done.stderr)
                    self.assertIn(str(file), done.stderr)

    def test_coordinator_down(self):
        for verb in (["list"], ["get", "x"], ["nodes"]):
            with self.subTest(verb):
                done = run("paramctl", "--coordinator", "127.0.0.1:1", "--request-timeout", "1s", *verb)
                self.assertEqual(done.returncode, 5, done.stderr)
                self.assertIn("127.0.0.1:1", done.stderr)


class JobsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(servers=1, workers=1)

    @classmethod
    def tearDownClass(cls):
        cls.cluster.close()

    def spec(self, **changes):
        return mlp_spec(self.cluster.directory, **changes)

    def assert_rejected(self, text, *fragments):
        done = self.cluster.paramctl("submit", "-f", "-", stdin=text)
        self.assertIn(done.returncode, (1, 2), done.stderr)
        for fragment in fragments:
            self.assertIn(fragment, done.stderr)

    def test_bad_yaml(self):
        self.assert_rejected("model: [unclosed", "line")

    def test_unknown_field(self):
        self.assert_rejected("modle: {}", "spec.modle", '"model"')

    def test_wrong_type(self):
        self.assert_rejected("training: {steps: many}", "spec.training.steps", "many")

    def test_out_of_range(self):
        spec = self.spec()
        spec["optimizer"]["learning_rate"] = -0.1
        done = self.cluster.paramctl("submit", "-f", "-", stdin=json.dumps(spec))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("spec.optimizer.learning_rate: must be > 0, got -0.1", done.stderr)

    def assert_fails(self, spec, reason, *fragments):
        job = self.cluster.wait(self.cluster.submit(spec), "JOB_STATE_FAILED", seconds=20)
        self.assertEqual(job["reason"], reason, job["message"])
        for fragment in fragments:
            self.assertIn(fragment, job["message"])

    def test_missing_corpus(self):
        spec = self.spec()
        spec["data"]["idx"]["train_images"] = "/nowhere/images"
        self.assert_fails(spec, "DATA_NOT_FOUND", "/nowhere/images", "worker-0")

    def test_empty_corpus(self):
        empty = self.cluster.directory / "empty.txt"
        empty.write_text("")
        spec = self.spec(
            model={"gpt2": {"layers": 1, "heads": 1, "hidden": 16, "context": 16}}, data={"text": {"files": [str(empty)]}}
        )
        self.assert_fails(spec, "DATA_INVALID", "empty.txt")

    def test_truncated_idx(self):
        spec = self.spec()
        labels = pathlib.Path(spec["data"]["idx"]["train_labels"])
        cut = self.cluster.directory / "cut-labels.idx"
        cut.write_bytes(labels.read_bytes()[:-10])
        spec["data"]["idx"]["train_labels"] = str(cut)
        self.assert_fails(spec, "DATA_INVALID", "cut-labels.idx")

    def test_model_larger_than_memory(self):
        with Cluster(servers=0, workers=1) as cluster:
            cluster.start_server("small", "--memory-limit", "1MiB")
            cluster.wait_ready(2)
            job = cluster.submit(mlp_spec(cluster.directory, model={"mlp": {"widths": [16, 100000, 4]}}))
            ended = cluster.wait(job, "JOB_STATE_FAILED", seconds=10)
            self.assertEqual(ended["reason"], "MODEL_TOO_LARGE")
            self.assertIn("1048576", ended["message"].replace(",", ""))

    def test_unknown_job(self):
        for verb in ("get", "describe", "watch", "cancel", "delete", "events"):
            with self.subTest(verb):
                done = self.cluster.paramctl(verb, "no-such-job")
                self.assertEqual(done.returncode, 3, done.stderr)
                self.assertIn("no-such-job", done.stderr)

    def test_duplicate_submit(self):
        first = self.cluster.submit(self.spec(), "--request-id", "r1")
        self.assertEqual(self.cluster.submit(self.spec(), "--request-id", "r1"), first)
        done = self.cluster.paramctl("submit", "-f", "-", "--request-id", "r1", stdin=json.dumps(self.spec(seed=9)))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("request", done.stderr)
        self.cluster.wait(first, "JOB_STATE_SUCCEEDED")

    def test_deleted_job_is_gone(self):
        job = self.cluster.submit(self.spec())
        self.cluster.wait(job, "JOB_STATE_SUCCEEDED")
        self.assertEqual(self.cluster.paramctl("delete", job).returncode, 0)
        self.assertEqual(self.cluster.paramctl("get", job).returncode, 3)

    def test_nan_fails_the_job(self):
        spec = self.spec(steps=2000)
        spec["optimizer"]["learning_rate"] = 1e30
        job = self.cluster.wait(self.cluster.submit(spec), "JOB_STATE_FAILED", seconds=20)
        self.assertRegex(job["reason"], "^NON_FINITE_(LOSS|GRADIENT)$")
        self.assertIn("step", job["message"])


if __name__ == "__main__":
    unittest.main()
