"""Several hosts: JAX started on them, values exchanged between them, differences refused."""

import dataclasses
import json
import logging
import os
import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from softeq_jax.training.config import differences

_log = logging.getLogger(__name__)

_PORTS = 61440
"""Coordinator ports are taken from the 4,096 above this, by the number of the job."""


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A cluster of processes, as `jax.distributed.initialize` needs to know it.

    Attributes:
      kind: where it was learned: "flags", "slurm", "open_mpi", "gke" or "tpu".
      coordinator: address and port of process 0; None lets JAX ask the TPU's metadata.
      count: number of processes.
      index: of this process.
      local_devices: devices of the machine that this process uses; None is all of them.
    """

    kind: str
    coordinator: str | None = None
    count: int | None = None
    index: int | None = None
    local_devices: tuple[int, ...] | None = None


def detect(environment: Mapping[str, str] | None = None) -> Cluster | None:
    """The cluster that the environment describes, or None on a single machine.

    In this order: SLURM (a step of `srun` with `SLURM_STEP_NODELIST`, `SLURM_NTASKS`,
    `SLURM_PROCID`, `SLURM_LOCALID`), Open MPI (`OMPI_COMM_WORLD_SIZE`, `..._RANK`,
    `..._LOCAL_RANK`, `OMPI_MCA_orte_hnp_uri`), a TPU slice under GKE (`TPU_WORKER_HOSTNAMES`,
    `TPU_WORKER_ID`, for several slices `MEGASCALE_COORDINATOR_ADDRESS`, `MEGASCALE_NUM_SLICES`,
    `MEGASCALE_SLICE_ID`), a TPU virtual machine (JAX sets `TPU_ML_PLATFORM` there when it is
    imported; it then asks the machine's metadata for the pod). One process is no cluster.
    `JAX_COORDINATOR_PORT` overrides the port.

    A machine with one process uses all its devices; with several, process i uses device i.

    Args:
      environment: variables and values; `os.environ` if None.

    Raises:
      ValueError: a variable is missing or cannot be read; it is named.
    """
    env = os.environ if environment is None else environment
    for find in (_slurm, _open_mpi, _gke, _tpu_pod):
        cluster = find(env)
        if cluster is not None:
            return None if cluster.count == 1 else cluster
    return None


def initialize(
    coordinator: str | None = None,
    count: int | None = None,
    index: int | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    timeout: int = 300,
) -> Cluster | None:
    """Connects this process to the others; to be called before JAX is used in any other way.

    JAX's preemption service is turned off, because it would swallow SIGTERM.

    Args:
      coordinator: `address:port` of process 0, with `count` and `index`; all three or none.
      count: number of processes.
      index: of this process.
      environment: what `detect` looks at when the three are not given.
      timeout: seconds to wait for the others.

    Returns:
      The cluster, or None on a single machine, where nothing is done.

    Raises:
      ValueError: some of the three are missing or out of range, or as `detect`.
      RuntimeError: the others did not come in time.
    """
    given = (coordinator, count, index)
    if any(value is not None for value in given):
        if coordinator is None or count is None or index is None:
            raise ValueError(
                f"expected coordinator, count and index together, got {coordinator!r}, {count} "
                f"and {index}"
            )
        if not 0 <= index < count or ":" not in coordinator:
            raise ValueError(
                f"expected address:port and 0 <= index < count, got {coordinator!r}, index "
                f"{index}, count {count}"
            )
        cluster = Cluster("flags", coordinator, count, index)
    else:
        cluster = detect(environment)
    if cluster is None or cluster.count == 1:
        return None
    jax.config.update("jax_enable_preemption_service", False)
    if cluster.coordinator is None:
        jax.distributed.initialize(initialization_timeout=timeout)
    else:
        jax.distributed.initialize(
            cluster.coordinator,
            cluster.count,
            cluster.index,
            cluster.local_devices,
            cluster_detection_method="deactivate",
            initialization_timeout=timeout,
        )
    _log.info("process %d of %d (%s)", jax.process_index(), jax.process_count(), cluster.kind)
    return cluster


def is_main() -> bool:
    """Whether this process writes the logs: process 0."""
    return jax.process_index() == 0


def broadcast(value: Any) -> Any:
    """Process 0's value of anything that JSON can hold, on every process."""
    return gather(value)[0] if jax.process_count() > 1 else value


def gather(value: Any) -> list[Any]:
    """Every process's value of anything that JSON can hold, in the order of the processes."""
    if jax.process_count() == 1:
        return [value]
    from jax.experimental import multihost_utils

    text = np.frombuffer(json.dumps(value, sort_keys=True).encode(), np.uint8)
    lengths = np.asarray(multihost_utils.process_allgather(np.int32(len(text)))).ravel()
    padded = np.zeros(lengths.max(), np.uint8)
    padded[: len(text)] = text
    rows = np.asarray(multihost_utils.process_allgather(padded))
    rows = rows.reshape(len(lengths), -1)
    return [json.loads(bytes(row[:length])) for row, length in zip(rows, lengths, strict=True)]


def barrier(name: str) -> None:
    """Waits for all processes."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def require_same(value: Mapping[str, Any], what: str) -> None:
    """Refuses to go on where hosts differ; every process must call it.

    Args:
      value: an object of JSON, such as the resolved configuration.
      what: its name, for the message.

    Raises:
      ValueError: on every process, with the keys and values in which a process differs from
        process 0.
    """
    first, *others = gather(value)
    for index, other in enumerate(others, 1):
        found = differences(first, other) if other != first else {}
        if found:
            named = "; ".join(f"{key} is {new!r}, not {old!r}" for key, (old, new) in found.items())
            raise ValueError(f"{what} of process {index} differs from that of process 0: {named}")


def _slurm(env: Mapping[str, str]) -> Cluster | None:
    if "SLURM_STEP_NODELIST" not in env or "SLURM_PROCID" not in env:
        return None
    first = re.match(r"([^,\[]+)(?:\[(\d+))?", env["SLURM_STEP_NODELIST"])
    if first is None:
        raise ValueError(f"SLURM_STEP_NODELIST={env['SLURM_STEP_NODELIST']!r}: no first node in it")
    node = first.group(1) + (first.group(2) or "")
    port = env.get("JAX_COORDINATOR_PORT") or _PORTS + _number(env, "SLURM_JOB_ID") % 4096
    tasks, nodes = _number(env, "SLURM_NTASKS"), _number(env, "SLURM_STEP_NUM_NODES", 0)
    alone = nodes == tasks
    local = None if alone else (_number(env, "SLURM_LOCALID"),)
    return Cluster("slurm", f"{node}:{port}", tasks, _number(env, "SLURM_PROCID"), local)


def _open_mpi(env: Mapping[str, str]) -> Cluster | None:
    if "OMPI_COMM_WORLD_SIZE" not in env:
        return None
    uri = env.get("OMPI_MCA_orte_hnp_uri", "")
    found = re.match(r"(\d+)\.\d+;tcp6?://\[?([^,\]]+?)(?:[,\]]|:\d+$)", uri)
    if found is None:
        raise ValueError(
            f"OMPI_MCA_orte_hnp_uri={uri!r}: no address of the launcher in it; start the "
            "processes with mpirun, or give coordinator, count and index"
        )
    port = env.get("JAX_COORDINATOR_PORT") or _PORTS + (int(found.group(1)) >> 12) % 4096
    alone = _number(env, "OMPI_COMM_WORLD_LOCAL_SIZE", 0) == 1
    local = None if alone else (_number(env, "OMPI_COMM_WORLD_LOCAL_RANK"),)
    return Cluster(
        "open_mpi",
        f"{found.group(2)}:{port}",
        _number(env, "OMPI_COMM_WORLD_SIZE"),
        _number(env, "OMPI_COMM_WORLD_RANK"),
        local,
    )


def _gke(env: Mapping[str, str]) -> Cluster | None:
    names = env.get("TPU_PROCESS_ADDRESSES") or env.get("TPU_WORKER_HOSTNAMES")
    if not names or "TPU_WORKER_ID" not in env:
        return None
    workers = names.split(",")
    slices, part = _number(env, "MEGASCALE_NUM_SLICES", 1), _number(env, "MEGASCALE_SLICE_ID", 0)
    host = (env.get("MEGASCALE_COORDINATOR_ADDRESS") or workers[0]).split(":")[0]
    port = env.get("JAX_COORDINATOR_PORT") or "8482"
    index = part * len(workers) + _number(env, "TPU_WORKER_ID")
    return Cluster("gke", f"{host}:{port}", slices * len(workers), index)


def _tpu_pod(env: Mapping[str, str]) -> Cluster | None:
    return Cluster("tpu") if "TPU_ML_PLATFORM" in env else None


def _number(env: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = env.get(name)
    if text is None and default is not None:
        return default
    try:
        return int(text or "")
    except ValueError:
        raise ValueError(f"{name}={text!r}: expected a whole number") from None
