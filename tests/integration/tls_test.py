"""TLS between all parties: who is let in, who is not, and how they learn why."""

import pathlib
import subprocess
import tempfile
import time
import unittest

from tests.framework.processes import BINARIES, Cluster, eventually, mlp_spec


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, text=True)


class Authority:
    """A certificate authority in a directory, made by the openssl program."""

    def __init__(self, directory, name):
        self.directory = pathlib.Path(directory) / name
        self.directory.mkdir()
        self.ca = self.directory / "ca.pem"
        self._make("ca", "/CN=" + name)

    def _make(self, name, subject, *more):
        openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", subject,
            "-keyout", str(self.directory / f"{name}.key"), "-out", str(self.directory / f"{name}.pem"), *more,
        )  # fmt: skip

    def issue(self, name, names="DNS:localhost,IP:127.0.0.1"):
        """The flags of a daemon with a certificate for `names`."""
        ca_key = str(self.directory / "ca.key")
        self._make(name, "/CN=" + name, "-CA", str(self.ca), "-CAkey", ca_key, "-addext", "subjectAltName=" + names)
        base = self.directory / name
        return ["--tls-cert", f"{base}.pem", "--tls-key", f"{base}.key", "--tls-ca", str(self.ca)]


class TlsTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.directory = pathlib.Path(temporary.name)
        self.authority = Authority(self.directory, "ours")
        self.flags = self.authority.issue("node")

    def test_the_same_weights_as_in_plain_text(self):
        hashes = set()
        for tls_flags in ([], self.flags):
            for transport in ("tcp", "auto"):
                flags = ["--transport", transport]
                with Cluster(servers=2, workers=2, tls_flags=tls_flags, worker_flags=flags) as cluster:
                    job = cluster.submit(mlp_spec(cluster.directory, workers=2, servers=2))
                    hashes.add(cluster.wait(job, "JOB_STATE_SUCCEEDED")["final_weights_sha256"])
        self.assertEqual(len(hashes), 1)

    def test_paramctl_is_told_why_it_is_not_let_in(self):
        stranger = Authority(self.directory, "stranger")
        cases = {
            "plain text": ([], 5, "--tls-ca"),
            "another authority": (stranger.issue("node"), 4, "none of our authorities"),
            "no certificate of its own": (["--tls-ca", str(self.authority.ca)], 5, "--tls-cert"),
            "a stranger's certificate": ([*stranger.issue("me")[:4], "--tls-ca", str(self.authority.ca)], 5, "--tls-cert"),
            "another name": ([*self.flags, "--tls-server-name", "elsewhere.example"], 4, "--tls-server-name"),
        }
        with Cluster(servers=0, workers=0, tls_flags=self.flags) as cluster:
            self.assertEqual(cluster.paramctl("list").returncode, 0)
            for what, (flags, code, words) in cases.items():
                with self.subTest(what):
                    cluster.tls_flags = flags
                    start = time.monotonic()
                    done = cluster.paramctl("list", "--request-timeout", "10s")
                    self.assertEqual(done.returncode, code, done.stderr)
                    self.assertIn(cluster.coordinator, done.stderr)
                    self.assertIn(words, done.stderr)
                    self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
                    self.assertLess(time.monotonic() - start, 9, "it waited for the timeout")

    def test_tls_client_of_a_plain_text_cluster(self):
        with Cluster(servers=0, workers=0) as cluster:
            cluster.tls_flags = self.flags
            done = cluster.paramctl("list", "--request-timeout", "10s")
            self.assertEqual(done.returncode, 4, done.stderr)
            self.assertIn("does not speak TLS", done.stderr)

    def test_daemons_that_are_not_let_in_keep_trying_and_say_so(self):
        stranger = Authority(self.directory, "stranger")
        with Cluster(servers=0, workers=0, tls_flags=self.flags) as cluster:
            for name, flags, words in (("plain", [], "--tls-ca"), ("stranger", stranger.issue("node"), "--tls-ca")):
                cluster.tls_flags = flags
                daemon = cluster.start_worker(name)
                eventually(lambda: words in daemon.log(), f"{name} to log its failure")
                self.assertIsNone(daemon.process.poll())
                self.assertEqual(daemon.http("/readyz")[0], 503)
            cluster.tls_flags = self.flags
            self.assertEqual(cluster.json("nodes")["nodes"], [])

    def test_wrong_files_end_a_daemon_before_it_listens(self):
        other = self.authority.issue("other")
        cert, key, ca = self.flags[1], self.flags[3], self.flags[5]
        missing = str(self.directory / "missing")
        cases = [
            (["--tls-cert", cert], "--tls-key: missing"),
            (["--tls-key", key], "--tls-cert: missing"),
            (["--tls-ca", ca], "--tls-cert: missing"),
            (["--tls-cert", missing, "--tls-key", key], missing),
            (["--tls-cert", cert, "--tls-key", missing], missing),
            (["--tls-cert", cert, "--tls-key", other[3]], "is not the key of"),
            (["--tls-cert", cert, "--tls-key", key, "--tls-ca", key], "--tls-ca: "),
        ]
        for role in ("coordinator", "server", "worker"):
            for flags, words in cases:
                with self.subTest(role=role, flags=flags):
                    ports = self.directory / "ports.json"
                    done = subprocess.run(
                        [BINARIES[role], "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--port-file", ports, *flags],
                        capture_output=True, text=True, timeout=30, cwd=self.directory,
                    )  # fmt: skip
                    self.assertEqual(done.returncode, 2, done.stderr)
                    self.assertIn(words, done.stderr)
                    self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
                    self.assertFalse(ports.exists())
        for flags, words in cases[:1] + cases[3:]:
            with self.subTest(role="paramctl", flags=flags):
                done = subprocess.run([BINARIES["paramctl"], *flags, "list"], capture_output=True, text=True, timeout=30)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertIn(words, done.stderr)


if __name__ == "__main__":
    unittest.main()
