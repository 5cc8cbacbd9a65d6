"""A paramd cluster of real processes on free ports of this machine, for tests.

    with Cluster(servers=2, workers=2) as cluster:
        job = cluster.submit(mlp_spec(cluster.directory))
        job = cluster.wait(job, "JOB_STATE_SUCCEEDED")

Binaries are found through the environment variables COORDINATOR, SERVER, WORKER and PARAMCTL. Every wait has a deadline;
leaving the `with` kills what still runs.
"""

import gzip
import json
import os
import pathlib
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

BINARIES = {
    role: str(pathlib.Path(os.environ[role.upper()]).resolve())
    for role in ("coordinator", "server", "worker", "paramctl")
    if role.upper() in os.environ
}

TERMINAL = {"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED"}


def steps_done(job):
    return int(job.get("progress", {}).get("step", 0))


def eventually(condition, what, seconds=30.0):
    """Returns the first true value of condition(); fails after `seconds`, naming `what` and the last value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s; last value: {value!r}")
        time.sleep(0.05)


class Daemon:
    """One daemon process, listening."""

    def __init__(self, name, role, flags, directory, listen="127.0.0.1:0", environment=None):
        self.name = name
        self.log_path = directory / f"{name}.log"
        port_file = directory / f"{name}.json"
        port_file.unlink(missing_ok=True)
        self._log = open(self.log_path, "ab")
        self.process = subprocess.Popen(
            [BINARIES[role], "--listen", listen, "--metrics-listen", "127.0.0.1:0", "--port-file", port_file, *flags],
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, **(environment or {})},
        )
        eventually(lambda: port_file.exists() or self.process.poll() is not None, f"{name} to listen")
        if self.process.poll() is not None:
            raise AssertionError(f"{name} exited with {self.process.returncode}:\n{self.log()}")
        ports = json.loads(port_file.read_text())
        self.address = f"127.0.0.1:{ports['port']}"
        self.metrics_address = f"127.0.0.1:{ports['metrics_port']}"

    def log(self):
        return self.log_path.read_text(errors="replace")

    def http(self, path):
        """(status code, body) of GET `path` on the metrics port."""
        try:
            with urllib.request.urlopen(f"http://{self.metrics_address}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def terminate(self, seconds=15):
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._log.close()


class Cluster:
    """A coordinator, servers and workers; `lease` is a duration flag, `tls_flags` go to all daemons and paramctl."""

    def __init__(self, servers=1, workers=1, lease="2s", tls_flags=(), worker_flags=(), coordinator_flags=()):
        self.tls_flags = list(tls_flags)
        self.coordinator_flags = list(coordinator_flags)
        self._temporary = tempfile.TemporaryDirectory(prefix="paramd-test.", dir=os.environ.get("TEST_TMPDIR"))
        self.directory = pathlib.Path(self._temporary.name)
        self.lease = lease
        self.daemons = {}
        try:
            self.start_coordinator()
            for i in range(servers):
                self.start_server(f"server-{i}")
            for i in range(workers):
                self.start_worker(f"worker-{i}", *worker_flags)
            self.wait_ready(servers + workers)
        except BaseException:
            self.print_logs()
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, error, *unused):
        if error is not None:
            self.print_logs()
        self.close()

    def print_logs(self, lines=60):
        """The ends of all logs, to standard error: what a failed test leaves behind."""
        for path in sorted(self.directory.glob("*.log")):
            end = path.read_text(errors="replace").splitlines()[-lines:]
            print(f"--- {path.name}", *end, sep="\n", file=sys.stderr)

    def close(self):
        for daemon in self.daemons.values():
            daemon.close()
        self._temporary.cleanup()

    def _start(self, name, role, flags, **options):
        if name in self.daemons:
            self.daemons[name].close()
        self.daemons[name] = Daemon(name, role, flags + self.tls_flags, self.directory, **options)
        return self.daemons[name]

    def start_coordinator(self, listen="127.0.0.1:0"):
        flags = ["--data-dir", str(self.directory / "coordinator"), "--lease", self.lease, *self.coordinator_flags]
        daemon = self._start("coordinator", "coordinator", flags, listen=listen)
        self.coordinator = daemon.address
        return daemon

    def start_server(self, name, *flags):
        base = ["--coordinator", self.coordinator, "--node-id", name, "--output-dir", str(self.directory / "output")]
        return self._start(name, "server", base + list(flags))

    def start_worker(self, name, *flags):
        base = ["--coordinator", self.coordinator, "--node-id", name, "--threads", "1"]
        return self._start(name, "worker", base + list(flags))

    def wait_ready(self, count):
        def ready():
            nodes = self.json("nodes")["nodes"]
            return sum(node["state"] == "NODE_STATE_READY" for node in nodes) == count

        eventually(ready, f"{count} nodes to be ready")

    def paramctl(self, *arguments, stdin=None, timeout=60):
        """Runs paramctl; returns the finished process with text output."""
        return subprocess.run(
            [BINARIES["paramctl"], "--coordinator", self.coordinator, *self.tls_flags, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def json(self, *arguments):
        done = self.paramctl(*arguments, "-o", "json")
        if done.returncode != 0:
            raise AssertionError(f"paramctl {arguments} exited with {done.returncode}: {done.stderr}")
        return json.loads(done.stdout)

    def submit(self, spec, *flags):
        """Submits a spec (a dict); returns the job's id."""
        done = self.paramctl("submit", "-f", "-", "-o", "json", *flags, stdin=json.dumps(spec))
        if done.returncode != 0:
            raise AssertionError(f"submit exited with {done.returncode}: {done.stderr}")
        return json.loads(done.stdout)["job_id"]

    def job(self, job_id):
        return self.json("get", job_id)

    def wait(self, job_id, state, seconds=60):
        """Waits for a state; returns the job. A job that ends in another state fails at once."""

        def reached():
            job = self.job(job_id)
            if job["state"] == state:
                return job
            if job["state"] in TERMINAL:
                raise AssertionError(f"job ended as {job['state']}: {job['reason']}: {job['message']}")
            return None

        return eventually(reached, f"job {job_id} to be {state}", seconds)

    def wait_step(self, job_id, step, seconds=60):
        """Waits until the step is done. A job that ends before it fails at once, one that does not go on with its events."""

        def reached():
            job = self.job(job_id)
            if steps_done(job) >= step:
                return True
            if job["state"] in TERMINAL:
                raise AssertionError(f"job ended as {job['state']} before step {step}: {job['reason']}: {job['message']}")
            return False

        try:
            eventually(reached, f"job {job_id} at step {step}", seconds)
        except AssertionError as error:
            events = self.paramctl("events", job_id).stdout
            raise AssertionError(f"{error}; now {json.dumps(self.job(job_id))}; events:\n{events}") from None

    def step(self, job_id):
        """The steps that the job's slowest worker has done."""
        return steps_done(self.job(job_id))


def replace_file(path, contents):
    """At no time does a reader see a part of it: a job may be opening the same file."""
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_bytes(contents)
    unfinished.replace(path)


def write_idx(directory, samples=512, inputs=16, classes=4, seed=7):
    """A separable classification task as IDX files: class c has a bright block at c. Returns the `idx` source."""
    rng = random.Random(seed)
    side = int(inputs**0.5)
    labels = [rng.randrange(classes) for _ in range(samples)]
    pixels = bytearray()
    for label in labels:
        for i in range(inputs):
            bright = i * classes // inputs == label
            pixels.append(rng.randrange(120, 256) if bright else rng.randrange(0, 140))
    source = {}
    for split in ("train", "test"):
        images = directory / f"{split}-images.idx.gz"
        replace_file(images, gzip.compress(struct.pack(">IIII", 0x803, samples, side, side) + bytes(pixels)))
        label_file = directory / f"{split}-labels.idx"
        replace_file(label_file, struct.pack(">II", 0x801, samples) + bytes(labels))
        source[f"{split}_images"] = str(images)
        source[f"{split}_labels"] = str(label_file)
    return source


def mlp_spec(directory, steps=60, workers=1, servers=1, **changes):
    """A small classifier job on generated data; `changes` replace top-level fields."""
    spec = {
        "name": "mlp",
        "model": {"mlp": {"widths": [16, 64, 4]}},
        "data": {"idx": write_idx(directory)},
        "training": {"steps": steps, "slots": 4, "micro_batch": 16},
        "optimizer": {"type": "sgd", "learning_rate": 0.2},
        "resources": {"workers": workers, "servers": servers, "chunk_elements": 1024},
    }
    spec.update(changes)
    return spec
