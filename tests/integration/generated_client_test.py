"""A worker that knows nothing but the .proto files trains a job: the wire is plain protobuf and gRPC.

It joins the cluster through ClusterService.Session, pushes made-up gradients to the servers' Exchange with the code
that protoc generates for Python, and finds the weights of plain SGD, bit by bit.
"""

import hashlib
import os
import queue
import struct
import tempfile
import threading
import time
import unittest

import grpc

from tests.framework import generated_code
from tests.framework.processes import Cluster, mlp_spec

_GENERATED = tempfile.TemporaryDirectory(prefix="paramd-generated.", dir=os.environ.get("TEST_TMPDIR"))
generated_code.generate(_GENERATED.name)

# pylint: disable=wrong-import-position
from proto import cluster_pb2, cluster_pb2_grpc, parameter_pb2, parameter_pb2_grpc  # noqa: E402

SECONDS = 30  # For anything to happen.
PROTOCOL = 1  # cluster.proto, Register.protocol.
SLOTS = 4
STEPS = 6
LEARNING_RATE = 0.125
DATA_LOSS = grpc.StatusCode.DATA_LOSS.value[0]


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def pack(values):
    return struct.pack(f"<{len(values)}f", *values)


def unpack(payload):
    return list(struct.unpack(f"<{len(payload) // 4}f", payload))


def as_float(value):
    """The nearest fp32."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


def as_bf16(values):
    """Upper halves, rounded to nearest even."""
    halves = []
    for (bits,) in struct.iter_unpack("<I", pack(values)):
        halves.append((bits + 0x7FFF + (bits >> 16 & 1)) >> 16)
    return struct.pack(f"<{len(halves)}H", *halves)


class Session:
    """A worker daemon as the coordinator sees it: registers, sends heartbeats, answers commands."""

    def __init__(self, coordinator):
        self.incarnation = int(time.time() * 1e6)
        self.prepared = queue.Queue()  # Of PrepareWorker.
        self.started = threading.Event()
        self.released = threading.Event()
        self._assignment = None
        self._reports = 0
        self._closed = threading.Event()
        self._outgoing = queue.Queue()
        self._channel = grpc.insecure_channel(coordinator)
        stub = cluster_pb2_grpc.ClusterServiceStub(self._channel)
        self._outgoing.put(
            cluster_pb2.DaemonMessage(
                register=cluster_pb2.Register(
                    node_id="generated-client",
                    role=cluster_pb2.NODE_ROLE_WORKER,
                    incarnation=self.incarnation,
                    address="127.0.0.1:1",
                    job_capacity=1,
                    version="generated",
                    protocol=PROTOCOL,
                )
            )
        )
        self._commands = stub.Session(iter(self._outgoing.get, None))
        self._threads = [threading.Thread(target=self._read)]
        self._threads[0].start()

    def report(self, **report):
        self._reports += 1
        self._outgoing.put(
            cluster_pb2.DaemonMessage(
                report=cluster_pb2.JobReport(
                    job_id=self._assignment.job_id,
                    generation=self._assignment.generation,
                    number=self._reports,
                    **report,
                )
            )
        )

    def close(self):
        self._closed.set()
        self._outgoing.put(None)
        self._commands.cancel()
        for thread in self._threads:
            thread.join()
        self._channel.close()

    def _read(self):
        try:
            for command in self._commands:
                self._handle(command)
        except grpc.RpcError:
            pass  # Cancelled by close(); anything else is missed by who waits for an event.

    def _handle(self, command):
        kind = command.WhichOneof("message")
        if kind == "welcome":
            self._threads.append(threading.Thread(target=self._beat, args=(command.welcome.heartbeat_ms / 1000,)))
            self._threads[-1].start()
        elif kind == "prepare_worker" and self._assignment is None:
            self._assignment = command.prepare_worker.assignment
            self.report(prepared=cluster_pb2.Prepared())
            self.prepared.put(command.prepare_worker)
        elif kind == "start":
            self.started.set()
        elif kind == "release":
            self.report(released=cluster_pb2.Released())
            self.released.set()

    def _beat(self, seconds):
        sequence = 0
        while not self._closed.wait(seconds):
            sequence += 1
            self._outgoing.put(cluster_pb2.DaemonMessage(heartbeat=cluster_pb2.Heartbeat(sequence=sequence)))


class Exchange:
    """One stream to one server."""

    def __init__(self, address):
        self._outgoing = queue.Queue()
        self._channel = grpc.insecure_channel(address)
        stub = parameter_pb2_grpc.ParameterServiceStub(self._channel)
        self._answers = stub.Exchange(iter(self._outgoing.get, None), timeout=4 * SECONDS)

    def send(self, request):
        self._outgoing.put(request)

    def receive(self):
        return next(self._answers)

    def close(self):
        """Half-closes; the server has nothing more to say and ends the stream well."""
        self._outgoing.put(None)
        rest = list(self._answers)
        code = self._answers.code()
        self._channel.close()
        return rest, code


class Client:
    """Pushes and pulls for the worker of an assignment, one request at a time or one per chunk at once."""

    def __init__(self, session, command):
        assignment = command.assignment
        self._base = {
            "job_id": assignment.job_id,
            "generation": assignment.generation,
            "worker_index": command.worker_index,
            "worker_incarnation": session.incarnation,
        }
        self._chunk_server = assignment.placement.chunk_server
        self._streams = [Exchange(server.address) for server in assignment.placement.servers]
        self._request_id = 0

    @property
    def chunks(self):
        return len(self._chunk_server)

    def ask_all(self, requests):
        """One request (a dict) per chunk, all before the first answer; returns the answers in the same order."""
        ids = []
        for chunk, fields in enumerate(requests):
            self._request_id += 1
            ids.append(self._request_id)
            self._streams[self._chunk_server[chunk]].send(
                parameter_pb2.ParameterRequest(request_id=self._request_id, chunk=chunk, **self._base, **fields)
            )
        answers = {}
        for chunk in range(len(requests)):
            answer = self._streams[self._chunk_server[chunk]].receive()
            answers[answer.request_id] = answer
        return [answers[request_id] for request_id in ids]

    def close(self):
        return [stream.close() for stream in self._streams]


def pull(**fields):
    return {"operation": parameter_pb2.OPERATION_PULL, **fields}


def push(step, payload, crc, first_slot=0, log2_size=2, operation=parameter_pb2.OPERATION_PUSH, **fields):
    return {
        "operation": operation,
        "step": step,
        "first_slot": first_slot,
        "log2_size": log2_size,
        "slot_count": 1 << log2_size,
        "codec": parameter_pb2.CODEC_FP32,
        "crc32c": crc,
        "payload": payload,
        **fields,
    }


class GeneratedClientTest(unittest.TestCase):
    def setUp(self):
        self.cluster = Cluster(servers=2, workers=0)
        self.addCleanup(self.cluster.close)
        self.session = Session(self.cluster.coordinator)
        self.addCleanup(self.session.close)
        self.cluster.wait_ready(3)
        # No parameter needs padding: chunks are nothing but weights.
        self.job = self.cluster.submit(
            mlp_spec(
                self.cluster.directory,
                servers=2,
                model={"mlp": {"widths": [16, 64, 16]}},
                training={"steps": STEPS, "slots": SLOTS, "micro_batch": 1},
                optimizer={"type": "sgd", "learning_rate": LEARNING_RATE},
            )
        )
        self.client = Client(self.session, self.session.prepared.get(timeout=SECONDS))
        self.assertTrue(self.session.started.wait(SECONDS))

    def assert_ok(self, answers, version=None):
        for answer in answers:
            self.assertEqual(answer.code, 0, answer)
            if version is not None:
                self.assertEqual(answer.version, version, answer)

    def pull_weights(self, version):
        answers = self.client.ask_all([pull(min_version=version)] * self.client.chunks)
        self.assert_ok(answers, version)
        for answer in answers:
            self.assertEqual(answer.codec, parameter_pb2.CODEC_FP32)
            if answer.crc32c:
                self.assertEqual(answer.crc32c, crc32c(answer.payload))
        return [unpack(answer.payload) for answer in answers]

    def finish(self, chunks):
        """Ends the worker's part; the job must save the weights given."""
        self.session.report(finished=cluster_pb2.WorkerFinished(step=STEPS))
        job = self.cluster.wait(self.job, "JOB_STATE_SUCCEEDED")
        digest = hashlib.sha256(b"".join(pack(weights) for weights in chunks)).hexdigest()
        self.assertEqual(job["final_weights_sha256"], digest)
        self.assertTrue(self.session.released.wait(SECONDS))
        for rest, code in self.client.close():
            self.assertEqual(rest, [])
            self.assertIn(code, (grpc.StatusCode.OK, grpc.StatusCode.CANCELLED))

    def push_everywhere(self, step, weights, gradient, **fields):
        """Pushes `gradient` as the sum of every element over all slots; returns the answers and the next weights."""
        requests = []
        for chunk in weights:
            payload = pack([gradient] * len(chunk))
            requests.append(push(step, payload, crc32c(payload), **fields))
        rate = as_float(LEARNING_RATE) * as_float(gradient / SLOTS)  # Exact: powers of two.
        return self.client.ask_all(requests), [[as_float(w - rate) for w in chunk] for chunk in weights]

    def test_training(self):
        weights = self.pull_weights(0)
        self.assertGreater(self.client.chunks, 2)
        self.assertEqual(sum(len(chunk) for chunk in weights), 16 * 64 + 64 + 64 * 16 + 16)

        # Both in one message.
        answers, weights = self.push_everywhere(
            0, weights, 1.0, operation=parameter_pb2.OPERATION_PUSH_PULL, min_version=1
        )
        self.assert_ok(answers, 1)
        self.assertEqual([unpack(answer.payload) for answer in answers], weights)

        # One after the other, and once more: what has arrived is not applied again.
        answers, weights = self.push_everywhere(1, weights, -2.0)
        self.assert_ok(answers)
        self.assertFalse(any(answer.duplicate for answer in answers))
        answers, _ = self.push_everywhere(1, weights, -2.0)
        self.assert_ok(answers)
        self.assertTrue(all(answer.duplicate for answer in answers))
        self.assertEqual(self.pull_weights(2), weights)

        # The two halves of the slot tree, the second first. Their sums differ; the step's sum is 1 + 3.
        answers, _ = self.push_everywhere(2, weights, 3.0, first_slot=2, log2_size=1)
        self.assert_ok(answers, 2)
        answers, _ = self.push_everywhere(2, weights, 1.0, first_slot=0, log2_size=1)
        self.assert_ok(answers)
        weights = [[as_float(w - LEARNING_RATE) for w in chunk] for chunk in weights]
        self.assertEqual(self.pull_weights(3), weights)

        # Half the bytes.
        answers = self.client.ask_all([pull(answer_codec=parameter_pb2.CODEC_BF16)] * self.client.chunks)
        self.assert_ok(answers, 3)
        for answer, chunk in zip(answers, weights):
            self.assertEqual(answer.codec, parameter_pb2.CODEC_BF16)
            self.assertEqual(answer.payload, as_bf16(chunk))

        for step in range(3, STEPS):
            answers, weights = self.push_everywhere(step, weights, 0.5)
            self.assert_ok(answers)
        self.assertEqual(self.pull_weights(STEPS), weights)
        self.finish(weights)

    def test_checksums(self):
        weights = self.pull_weights(0)
        payloads = [pack([1.0] * len(chunk)) for chunk in weights]
        answers = self.client.ask_all([push(0, payload, crc32c(payload) ^ 1 or 2) for payload in payloads])
        for answer in answers:
            self.assertEqual((answer.code, answer.reason), (DATA_LOSS, "CHECKSUM_MISMATCH"), answer)
        self.assertEqual(self.pull_weights(0), weights)  # Nothing of it was taken, and the streams go on.
        for step in range(STEPS):  # 0 is not checked.
            answers = self.client.ask_all([push(step, payload, 0) for payload in payloads])
            self.assert_ok(answers)
            self.assertFalse(any(answer.duplicate for answer in answers))
            weights = [[as_float(w - LEARNING_RATE / SLOTS) for w in chunk] for chunk in weights]
        self.assertEqual(self.pull_weights(STEPS), weights)
        self.finish(weights)


if __name__ == "__main__":
    unittest.main()
