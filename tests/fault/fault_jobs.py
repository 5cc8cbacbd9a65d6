"""The job that the fault tests run, and what a run without faults ends with."""

from tests.framework.faults import FaultCluster
from tests.framework.processes import mlp_spec

CLUSTER = {"servers": 2, "workers": 2}
STEPS = 40
# Three chunks of 128 KiB: a message's payload is nearly all of it. With a norm limit the servers depend on each other, too.
CHUNKS = 3


def fault_spec(directory, steps=STEPS, **changes):
    changes.setdefault("model", {"mlp": {"widths": [16, 4096, 4]}})
    changes.setdefault("optimizer", {"type": "adam", "learning_rate": 0.01, "clip_norm": 0.5})
    resources = {"workers": 2, "servers": 2, "chunk_elements": 32768}
    return mlp_spec(directory, steps=steps, resources=resources, **changes)


def hash_without_faults(steps=STEPS):
    """final_weights_sha256 of the job when nothing goes wrong."""
    with FaultCluster(**CLUSTER) as cluster:
        return cluster.wait(cluster.submit(fault_spec(cluster.directory, steps)), "JOB_STATE_SUCCEEDED")[
            "final_weights_sha256"
        ]
