"""Clusters whose daemons have failpoints, and whose servers are behind fault proxies, for tests.

    with FaultCluster({"server-0": "server.receive=fail(UNAVAILABLE)@hit=20"}, servers=2, workers=2) as cluster:
        run = cluster.run(mlp_spec(cluster.directory, workers=2, servers=2))
        run.job["final_weights_sha256"], run.metric("server-0", "paramd_failpoint_fired_total")

Rules: docs/failpoints.md. Commands of the proxies: tests/framework/fault_command.h.
"""

import json
import pathlib
import re
import subprocess

from tests.framework.processes import Cluster, TERMINAL, eventually

PROXY = pathlib.Path("tests/framework/fault_proxy_main").resolve()
SERIES = re.compile(r"^([a-z_]+)(\{[^}]*\})? (\S+)$", re.MULTILINE)


class FaultProxy:
    """A proxy process; `address` is where it listens."""

    def __init__(self, seed):
        self._process = subprocess.Popen(
            [PROXY, str(seed)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.address = "127.0.0.1:%d" % json.loads(self._process.stdout.readline())["port"]

    def command(self, line):
        self._process.stdin.write(line + "\n")
        answer = self._process.stdout.readline().rstrip("\n")
        if not answer or answer.startswith("error"):
            raise AssertionError(f"fault proxy: {line}: {answer or 'gone'}")
        return answer

    def counters(self):
        return json.loads(self.command("counters"))

    def close(self):
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


class Run:
    """A job and what the daemons' metrics said while it lasted."""

    def __init__(self, cluster, job_id):
        self.cluster = cluster
        self.job_id = job_id
        self.job = None
        self._series = {}

    def look(self):
        """Looks at job and metrics once."""
        for name, daemon in self.cluster.daemons.items():
            if daemon.process.poll() is not None:
                continue
            try:
                text = daemon.http("/metrics")[1]
            except OSError:  # It dies just now.
                continue
            for series, labels, value in SERIES.findall(text):
                self._series[name, series, labels] = float(value)
        self.job = self.cluster.job(self.job_id)
        return self.job

    def wait(self, seconds=60):
        """Until the job is over, in whatever way; returns this."""
        eventually(lambda: self.look()["state"] in TERMINAL, f"job {self.job_id} to end", seconds)
        self.look()  # What happened between the last metrics and the end: a job's counts outlive it.
        return self

    def metric(self, daemon, series, label=""):
        """The newest values of a series, of one daemon or of all whose names begin so, added up."""
        return sum(
            value
            for (name, known, labels), value in self._series.items()
            if name.startswith(daemon) and known == series and label in labels
        )

    def by_label(self, series, label):
        """The values of a series over all daemons, added up by the value of a label."""
        sums = {}
        for (_, known, labels), value in self._series.items():
            found = re.search(label + r'="([^"]*)"', labels)
            if known == series and found:
                sums[found[1]] = sums.get(found[1], 0) + value
        return sums

    def fired(self, daemon):
        """How often the daemon's failpoints did something."""
        return self.metric(daemon, "paramd_failpoint_fired_total")


class FaultCluster(Cluster):
    """`failpoints`: rules by daemon name, for its first start. `proxied`: workers, and other servers, reach servers
    through `proxies`. `apart`: daemons that reach the coordinator through `coordinator_proxies`."""

    def __init__(self, failpoints=None, proxied=False, apart=(), **options):
        self._failpoints = dict(failpoints or {})
        self._proxied = proxied
        self._apart = apart
        self.proxies = {}
        self.coordinator_proxies = {}
        # One connection a server, and checksums, as between hosts: the proxies are to be seen.
        options.setdefault("worker_flags", ("--transport", "tcp", "--checksum", "always", "--streams-per-server", "1"))
        super().__init__(**options)

    def close(self):
        super().close()
        for proxy in (*self.proxies.values(), *self.coordinator_proxies.values()):
            proxy.close()

    def _start(self, name, role, flags, **options):
        rules = self._failpoints.pop(name, "")
        if name in self._apart:
            if name not in self.coordinator_proxies:
                self.coordinator_proxies[name] = FaultProxy(seed=len(self.coordinator_proxies) + 101)
                self.coordinator_proxies[name].command(f"target {self.coordinator}")
            there = flags.index("--coordinator") + 1
            flags = flags[:there] + [self.coordinator_proxies[name].address] + flags[there + 1 :]
        return super()._start(name, role, flags, environment={"PARAMD_FAILPOINTS": rules}, **options)

    def start_server(self, name, *flags):
        if not self._proxied:
            return super().start_server(name, *flags)
        proxy = self.proxies[name] = FaultProxy(seed=len(self.proxies) + 1)
        daemon = super().start_server(name, "--advertise", proxy.address, *flags)
        proxy.command(f"target {daemon.address}")
        return daemon

    def run(self, spec, seconds=60):
        """Submits a job and waits for its end."""
        return self.begin(spec).wait(seconds)

    def begin(self, spec):
        return Run(self, self.submit(spec))

    def command_all(self, line):
        for proxy in self.proxies.values():
            proxy.command(line)

    def proxy_counter(self, *path):
        """A counter of the proxies, added up: proxy_counter("up", "lost_bytes")."""
        total = 0
        for proxy in self.proxies.values():
            value = proxy.counters()
            for key in path:
                value = value[key]
            total += value
        return total

    def await_death(self, name, seconds=30):
        """Waits for a daemon that a failpoint aborts; returns the log's line that says which."""
        daemon = self.daemons[name]
        eventually(lambda: daemon.process.poll() is not None, f"{name} to die", seconds)
        if daemon.process.returncode != -9:
            raise AssertionError(f"{name} ended with {daemon.process.returncode}:\n{daemon.log()}")
        return [line for line in daemon.log().split("\n") if line.startswith("failpoint ")][-1]
