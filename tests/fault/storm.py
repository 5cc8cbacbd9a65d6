"""A storm: a sync job trains while its workers, servers and coordinator are killed or stopped at random.

    tests/fault/storm --kills 200 --roles worker,server,coordinator --seed 7

After the last fault the job stops at a common step and saves its weights. They must be those of an undisturbed run of as
many steps on one server and one worker, bit for bit: a gradient that was lost, or counted twice, would show. The summary:

    storm: kills=200 stops=0 steps=31250 lost=0 duplicated=0 identical=true rto_p50_ms=310 rto_p99_ms=1900 useful_work=0.93

`rto`: from a fault to the first step beyond the one that the servers had applied by then, computed again where a server
was lost. `useful_work`: final steps by all steps, those computed again included. A storm whose faults did not meet a
training job, or not each of the roles, is invalid. Exit code 0: identical; 1: not, or it did not go on; 2: wrong flags;
3: invalid.
"""

import argparse
import random
import re
import signal
import sys
import time

from tests.framework.processes import TERMINAL, Cluster, eventually, mlp_spec, steps_done

ROLES = ("worker", "server", "coordinator")
ENDLESS = 2_000_000_000
LEASE = 2.0  # Seconds.
PATIENCE = 90  # Seconds from a fault until training goes on.
SERVERS, SPARE_SERVERS, WORKERS = 2, 1, 3
TOGETHER = 0.15  # The share of faults that follow the one before without waiting for it to be overcome.


class Invalid(Exception):
    """The storm says nothing."""


class StormCluster(Cluster):
    """Workers take a few milliseconds a step: so many that the reference run is short."""

    def _start(self, name, role, flags, **options):
        environment = {"PARAMD_FAILPOINTS": "worker.push=delay(1)" if role == "worker" else ""}
        return super()._start(name, role, flags, environment=environment, **options)


def job_spec(directory, steps, **resources):
    return mlp_spec(
        directory,
        steps=steps,
        training={"steps": steps, "slots": 6, "micro_batch": 8},
        optimizer={"type": "adamw", "learning_rate": 0.001, "clip_norm": 1.0},
        checkpoint={"every_steps": 20, "keep": 2},
        model={"mlp": {"widths": [16, 256, 4]}},
        resources={"chunk_elements": 1024, **resources},
    )


class Storm:
    def __init__(self, cluster, options):
        self.cluster = cluster
        self.options = options
        self.random = random.Random(options.seed)
        self.rto = []
        self.faults = {role: 0 for role in options.roles}
        self.met = 0  # Faults during training.
        self.down = []  # (when to start it again or let it go on, name, stopped)
        self.job = None

    def applied(self):
        """The newest step that a server says it has applied."""
        newest = 0
        for i in range(SERVERS + SPARE_SERVERS):
            daemon = self.cluster.daemons[f"server-{i}"]
            if daemon.process.poll() is not None or daemon.name in self.names_down():
                continue
            try:
                found = re.search(rf'^paramd_global_step\{{train_job="{self.job}"\}} (\S+)$', daemon.http("/metrics")[1], re.M)
            except OSError:
                continue
            newest = max(newest, int(float(found[1])) if found else 0)
        return newest

    def names_down(self):
        return {name for _, name, _ in self.down}

    def raise_the_dead(self, everything=False):
        for entry in [e for e in self.down if everything or time.monotonic() >= e[0]]:
            self.down.remove(entry)
            _, name, stopped = entry
            if stopped:
                self.cluster.daemons[name].process.send_signal(signal.SIGCONT)
            elif name == "coordinator":
                self.cluster.start_coordinator(self.cluster.coordinator)
            elif name.startswith("server"):
                self.cluster.start_server(name)
            else:
                self.cluster.start_worker(name)

    def victim(self):
        """One that is up, and not the last of its kind that the job needs."""
        names = []
        while not names:
            self.raise_the_dead()
            role = self.random.choice(self.options.roles)
            up = [n for n in self.cluster.daemons if n.startswith(role) and n not in self.names_down()]
            names = up if role == "coordinator" or len(up) > 1 else []
            if not names:
                time.sleep(0.02)
        return role, self.random.choice(names)

    def strike(self):
        role, name = self.victim()
        stop = self.random.random() < self.options.stop_share
        process = self.cluster.daemons[name].process
        if "coordinator" not in self.names_down():
            self.met += self.cluster.job(self.job)["phase"] == "JOB_PHASE_TRAINING"
        process.send_signal(signal.SIGSTOP if stop else signal.SIGKILL)
        if not stop:
            process.wait()
        away = self.random.uniform(0.5, 1.7) * LEASE if stop else self.random.choice((0, 0.3, 1.3 * LEASE))
        self.down.append((time.monotonic() + away, name, stop))
        self.faults[role] += 1
        self.stops += stop
        return name

    def overcome(self, since):
        """Waits for the first step beyond what had been applied when the fault was there; returns the seconds."""
        deadline = since + PATIENCE
        time.sleep(0.03)  # What was under way.
        before = self.applied() + 1
        while self.applied() <= before:
            self.raise_the_dead()
            if time.monotonic() > deadline:
                raise AssertionError(f"no step beyond {before} within {PATIENCE} s of the fault")
            time.sleep(0.01)
        return time.monotonic() - since

    def run(self):
        spec = job_spec(self.cluster.directory, ENDLESS, workers=WORKERS, servers=SERVERS)
        self.job = self.cluster.submit(spec)
        self.stops = 0
        self.cluster.wait_step(self.job, 20)
        for number in range(1, self.options.kills + 1):
            time.sleep(self.random.uniform(0, 0.3))
            since = time.monotonic()
            name = self.strike()
            if number < self.options.kills and self.random.random() < TOGETHER:
                continue
            self.rto.append(self.overcome(since))
            if self.options.verbose or number % 20 == 0:
                print(
                    f"storm: {number} of {self.options.kills}, {name} last, overcome in {1000 * self.rto[-1]:.0f} ms, "
                    f"step {self.applied()}",
                    flush=True,
                )
        self.raise_the_dead(everything=True)
        self.cluster.wait_step(self.job, self.applied() + 20)
        eventually(lambda: self.cluster.job(self.job)["phase"] == "JOB_PHASE_TRAINING", "the job to train in peace", PATIENCE)
        done = self.cluster.paramctl("cancel", self.job, "--save")
        if done.returncode != 0:
            raise AssertionError(f"cancel --save: {done.stderr}")
        job = eventually(self.ended, "the weights to be saved", PATIENCE)
        if job["state"] != "JOB_STATE_CANCELLED" or not job.get("final_weights_sha256"):
            raise AssertionError(f"the job ended as {job['state']}: {job['reason']}: {job['message']}")
        if self.met < 0.5 * self.options.kills:
            raise Invalid(f"only {self.met} of {self.options.kills} faults met a job that trained")
        missing = [role for role, count in self.faults.items() if count == 0]
        if missing:
            raise Invalid(f"no fault of a {missing[0]}")
        return job

    def ended(self):
        job = self.cluster.job(self.job)
        return job if job["state"] in TERMINAL else None

    def steps_again(self):
        """Steps that were computed more than once, from the job's history."""
        again, reached = 0, 0
        for line in self.cluster.paramctl("events", self.job).stdout.splitlines():
            beyond = re.search(r" RECOVERING .* to get beyond step (\d+)", line)
            restored = re.search(r" RESTORING .*, step (\d+), ", line)
            if beyond:
                reached = int(beyond[1])
            if restored:
                again += max(0, reached - int(restored[1]))
        return again


def reference(steps):
    with Cluster() as cluster:
        job = cluster.submit(job_spec(cluster.directory, steps, workers=1, servers=1))
        return cluster.wait(job, "JOB_STATE_SUCCEEDED", 600)["final_weights_sha256"]


def percentile(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def storm(options):
    """Runs one; returns whether the weights are those of the undisturbed run. AssertionError, Invalid."""
    print(f"storm: seed {options.seed}", flush=True)
    flags = ("--max-recoveries", "1000", "--restart-grace", "3s")
    with StormCluster(
        servers=SERVERS + SPARE_SERVERS, workers=WORKERS, lease=f"{LEASE:g}s", coordinator_flags=flags
    ) as cluster:
        run = Storm(cluster, options)
        job = run.run()
        steps, again = steps_done(job), run.steps_again()
    identical = job["final_weights_sha256"] == reference(steps)
    none = 0 if identical else "unknown"
    print(
        f"storm: kills={options.kills - run.stops} stops={run.stops} steps={steps} lost={none} duplicated={none} "
        f"identical={str(identical).lower()} rto_p50_ms={1000 * percentile(run.rto, 0.5):.0f} "
        f"rto_p99_ms={1000 * percentile(run.rto, 0.99):.0f} useful_work={steps / (steps + again):.3f}",
        flush=True,
    )
    return identical


def parse(arguments):
    parser = argparse.ArgumentParser(prog="storm", description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=200, help="faults, stops included; default 200")
    parser.add_argument("--roles", default=",".join(ROLES), help="whom they meet: worker, server, coordinator; default all")
    parser.add_argument("--seed", type=int, default=None, help="of the faults; default: a new one, which is printed")
    parser.add_argument("--replication", type=int, default=1, choices=[1], help="copies of the weights; there is no more than 1")
    parser.add_argument("--stop-share", type=float, default=0.0, help="share of faults that stop a process for a while; default 0")
    parser.add_argument("--verbose", action="store_true", help="a line for every fault")
    options = parser.parse_args(arguments)
    options.roles = options.roles.split(",")
    unknown = [role for role in options.roles if role not in ROLES]
    if unknown:
        parser.error(f"--roles: no such role: {unknown[0]!r}")
    if len(set(options.roles)) != len(options.roles):
        parser.error("--roles: named twice")
    if options.kills < len(options.roles):
        parser.error(f"--kills: must be at least {len(options.roles)}, one for each role")
    if not 0 <= options.stop_share <= 1:
        parser.error("--stop-share: must be 0 to 1")
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 32)
    return options


def main():
    try:
        return 0 if storm(parse(sys.argv[1:])) else 1
    except Invalid as error:
        print(f"storm: invalid: {error}", file=sys.stderr)
        return 3
    except AssertionError as error:
        print(f"storm: failed: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
