"""A real etcd on free ports of this machine, for tests, and clusters with standby coordinators.

    with HighlyAvailableCluster(coordinators=3, servers=1, workers=1) as cluster:
        cluster.daemons[cluster.leader()].kill()
"""

import base64
import json
import re
import shutil
import signal
import socket
import subprocess
import urllib.request

from tests.framework.processes import Cluster, eventually


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Etcd:
    """One etcd; read through its HTTP gateway."""

    def __init__(self, directory):
        if shutil.which("etcd") is None:
            raise AssertionError("etcd is not installed; these tests need it: apt-get install etcd-server")
        self.directory = directory
        self._log = open(directory / "etcd.log", "ab")
        self.process = None
        for _ in range(5):  # A port that was free may be taken the moment after.
            self._launch(free_port(), free_port())
            if self.process.poll() is None:
                return
        raise AssertionError(f"etcd does not start:\n{(directory / 'etcd.log').read_text(errors='replace')}")

    def _launch(self, port, peer_port):
        client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
        self.endpoint = f"127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [
                "etcd",
                "--name=test",
                f"--data-dir={self.directory / 'etcd'}",
                f"--listen-client-urls={client}",
                f"--advertise-client-urls={client}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=test={peer}",
                "--heartbeat-interval=100",
                "--election-timeout=1000",
            ],
            stdout=self._log,
            stderr=self._log,
        )
        eventually(lambda: self.process.poll() is not None or self._answers(), "etcd to answer")

    def _answers(self):
        try:
            self.get("ready")
            return True
        except OSError:
            return False

    def get(self, key):
        """The key's value as text, or None."""
        body = json.dumps({"key": base64.b64encode(key.encode()).decode()}).encode()
        request = urllib.request.Request(f"http://{self.endpoint}/v3/kv/range", body)
        with urllib.request.urlopen(request, timeout=5) as answer:
            found = json.loads(answer.read()).get("kvs", [])
        return base64.b64decode(found[0]["value"]).decode() if found else None

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._log.close()


class HighlyAvailableCluster(Cluster):
    """Several coordinators over one etcd: one leads, the others stand by."""

    def __init__(self, coordinators=3, leader_lease="3s", lease="12s", **options):
        self.count = coordinators
        self.leader_lease = leader_lease
        self.etcd = None
        self.paused = set()
        super().__init__(lease=lease, **options)

    def close(self):
        if self.etcd is not None:
            self.etcd.close()
        super().close()  # SIGKILL ends what is stopped, too.

    def start_coordinator(self, listen=None):
        """All of them."""
        self.etcd = Etcd(self.directory)
        self.addresses = {}
        for i in range(self.count):
            self.start_one_coordinator(f"coordinator-{i}")
        self.coordinator = ",".join(self.addresses.values())

    def start_one_coordinator(self, name):
        flags = ["--store", f"etcd:{self.etcd.endpoint}", "--lease", self.lease, "--leader-lease", self.leader_lease]
        flags += ["--node-id", name, *self.coordinator_flags]
        listen = self.addresses.get(name, "127.0.0.1:0")  # The same again after a restart.
        daemon = self._start(name, "coordinator", flags, listen=listen)
        self.addresses[name] = daemon.address
        return daemon

    def coordinators(self):
        """Those that can answer."""
        return [name for name in self.addresses if name not in self.paused and self.daemons[name].process.poll() is None]

    def leads(self, name):
        text = self.daemons[name].http("/metrics")[1]
        return re.search(r"^paramd_coordinator_leader (\S+)$", text, re.MULTILINE).group(1) == "1"

    def leader(self, seconds=30):
        """The name of the coordinator that leads, when there is exactly one."""

        def one():
            leading = [name for name in self.coordinators() if self.leads(name)]
            return leading[0] if len(leading) == 1 else None

        return eventually(one, "one coordinator to lead", seconds)

    def term(self):
        """Of the coordinator that wrote last."""
        return int((self.etcd.get("/paramd/writer") or "0 0").split()[0])

    def pause(self, name):
        """SIGSTOP: connections stay, nothing answers."""
        self.paused.add(name)
        self.daemons[name].process.send_signal(signal.SIGSTOP)

    def resume(self, name):
        self.daemons[name].process.send_signal(signal.SIGCONT)
        self.paused.discard(name)
