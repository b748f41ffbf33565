"""A Ray cluster of two nodes on the loopback interface, until standard input ends. Prints its address."""

from __future__ import annotations

import sys

from ray.cluster_utils import Cluster

ATTEMPTS = 4  # a node waits for 30 seconds for itself, which a busy machine may need


def start() -> Cluster:
    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 200 * 2**20}
    cluster = Cluster()
    cluster.add_node(**head)
    cluster.add_node(num_cpus=1, object_store_memory=200 * 2**20)
    return cluster


if __name__ == "__main__":
    for attempt in range(ATTEMPTS):
        try:
            cluster = start()
            break
        except Exception:
            if attempt == ATTEMPTS - 1:
                raise
    print(cluster.address, flush=True)
    sys.stdin.read()
    cluster.shutdown()
