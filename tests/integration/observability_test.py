"""What an operator sees: metrics, probes, health, reflection, generation, on a live cluster of processes."""

import subprocess
import unittest

import grpc
from tests.framework.processes import Cluster, eventually, mlp_spec


def unary(address, method, request=b""):
    """Calls a unary method with raw bytes; returns the answer's bytes."""
    with grpc.insecure_channel(address) as channel:
        return channel.unary_unary(method)(request, timeout=5)


def field(number, text):
    """A length-delimited protobuf field."""
    data = text.encode()
    return bytes([number << 3 | 2, len(data)]) + data


class ObservabilityTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(servers=2, workers=2)
        spec = mlp_spec(cls.cluster.directory, steps=2_000_000_000, workers=2, servers=2)
        cls.job = cls.cluster.submit(spec)
        cls.cluster.wait_step(cls.job, 20)

    @classmethod
    def tearDownClass(cls):
        cls.cluster.close()

    def test_metrics_pass_promtool_and_have_the_job(self):
        for name, daemon in self.cluster.daemons.items():
            with self.subTest(name):
                status, text = daemon.http("/metrics")
                self.assertEqual(status, 200)
                lint = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
                self.assertEqual(lint.returncode, 0, lint.stdout + lint.stderr)
                for wanted in ("paramd_build_info", "process_cpu_seconds_total", f'train_job="{self.job}"'):
                    self.assertIn(wanted, text)

    def test_probes(self):
        for name, daemon in self.cluster.daemons.items():
            for path in ("/healthz", "/readyz", "/livez"):
                with self.subTest(name=name, path=path):
                    self.assertEqual(daemon.http(path)[0], 200)
            self.assertEqual(daemon.http("/nonsense")[0], 404)

    def test_health_names_every_service(self):
        services = {
            "coordinator": ["paramd.v1.JobService", "paramd.v1.ClusterService"],
            "server-0": ["paramd.v1.ParameterService"],
            "worker-0": ["paramd.v1.InferenceService"],
        }
        for name, names in services.items():
            for service in [""] + names:
                with self.subTest(name=name, service=service):
                    request = field(1, service) if service else b""
                    answer = unary(self.cluster.daemons[name].address, "/grpc.health.v1.Health/Check", request)
                    self.assertEqual(answer, b"\x08\x01")  # SERVING

    def test_reflection_lists_the_services(self):
        for name, service in (
            ("coordinator", b"paramd.v1.JobService"),
            ("server-0", b"paramd.v1.ParameterService"),
            ("worker-0", b"paramd.v1.InferenceService"),
        ):
            with self.subTest(name), grpc.insecure_channel(self.cluster.daemons[name].address) as channel:
                call = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
                answer = next(iter(call(iter([field(7, "*")]), timeout=5)))
                self.assertIn(service, answer)

    def test_daemons_without_coordinator_are_not_ready(self):
        with Cluster(servers=1, workers=1) as cluster:
            cluster.daemons["coordinator"].kill()
            for name in ("server-0", "worker-0"):
                daemon = cluster.daemons[name]
                eventually(lambda d=daemon: d.http("/readyz")[0] == 503, f"{name} not ready", 10)
                self.assertEqual(daemon.http("/healthz")[0], 200)


if __name__ == "__main__":
    unittest.main()
