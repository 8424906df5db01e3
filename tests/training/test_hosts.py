"""What the environment tells of other hosts; signals."""

import os
import signal
import threading

import pytest

from softeq_jax.training import hosts, stop_on_signals
from softeq_jax.training.hosts import Cluster, detect

SLURM = {
    "SLURM_JOB_ID": "4100",
    "SLURM_STEP_NODELIST": "node[007-009,12]",
    "SLURM_NTASKS": "4",
    "SLURM_STEP_NUM_NODES": "4",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "0",
}
MPI = {
    "OMPI_COMM_WORLD_SIZE": "8",
    "OMPI_COMM_WORLD_RANK": "5",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911",
}
GKE = {"TPU_WORKER_HOSTNAMES": "a.svc,b.svc,c.svc,d.svc", "TPU_WORKER_ID": "3"}


def test_slurm():
    assert detect(SLURM) == Cluster("slurm", "node007:61444", 4, 2, None)
    several = {**SLURM, "SLURM_STEP_NUM_NODES": "1", "SLURM_LOCALID": "2"}
    assert detect(several).local_devices == (2,)
    for nodes, first in [("alpha", "alpha"), ("a1,b2", "a1"), ("gpu[3,5]", "gpu3"), ("x-y", "x-y")]:
        coordinator = detect({**SLURM, "SLURM_STEP_NODELIST": nodes}).coordinator
        assert coordinator.split(":")[0] == first
    port = detect({**SLURM, "JAX_COORDINATOR_PORT": "1234"}).coordinator.split(":")[1]
    assert port == "1234"
    assert detect({**SLURM, "SLURM_NTASKS": "1"}) is None


def test_open_mpi():
    assert detect(MPI) == Cluster("open_mpi", "10.96.0.1:62624", 8, 5, (1,))
    assert detect({**MPI, "OMPI_COMM_WORLD_LOCAL_SIZE": "1"}).local_devices is None
    six = "1314521088.0;tcp6://[fe80::b9b:ac5d,2620:10d::3000:2]:43370"
    assert detect({**MPI, "OMPI_MCA_orte_hnp_uri": six}).coordinator.startswith("fe80::b9b:ac5d:")
    single = "1531576320.0;tcp://10.96.0.1:34911"
    assert detect({**MPI, "OMPI_MCA_orte_hnp_uri": single}).coordinator == "10.96.0.1:62624"


def test_gke_and_tpu():
    assert detect(GKE) == Cluster("gke", "a.svc:8482", 4, 3)
    slices = {
        **GKE,
        "MEGASCALE_NUM_SLICES": "2",
        "MEGASCALE_SLICE_ID": "1",
        "MEGASCALE_COORDINATOR_ADDRESS": "first.svc:9000",
    }
    assert detect(slices) == Cluster("gke", "first.svc:8482", 8, 7)
    assert detect({"TPU_WORKER_HOSTNAMES": "localhost", "TPU_WORKER_ID": "0"}) is None
    assert detect({"TPU_ML_PLATFORM": "JAX"}) == Cluster("tpu")
    assert detect({}) is None


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({**SLURM, "SLURM_NTASKS": "four"}, "SLURM_NTASKS='four': expected a whole number"),
        ({**SLURM, "SLURM_STEP_NODELIST": ""}, "no first node"),
        ({k: v for k, v in SLURM.items() if k != "SLURM_JOB_ID"}, "SLURM_JOB_ID=None"),
        ({**MPI, "OMPI_MCA_orte_hnp_uri": "?"}, "no address of the launcher"),
    ],
)
def test_variables_that_cannot_be_read(environment, words):
    with pytest.raises(ValueError, match=words):
        detect(environment)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("127.0.0.1:1", 2, None), "together"),
        ((None, 2, 0), "together"),
        (("127.0.0.1:1", 2, 2), "0 <= index < count"),
        (("127.0.0.1", 2, 1), "address:port"),
    ],
)
def test_flags_that_do_not_fit(given, words):
    with pytest.raises(ValueError, match=words):
        hosts.initialize(*given)


def test_alone_nothing_is_started():
    assert hosts.initialize(environment={}) is None
    assert hosts.initialize("127.0.0.1:1", 1, 0) is None
    assert hosts.is_main()
    assert hosts.gather({"a": 1}) == [{"a": 1}]
    hosts.require_same({"a": 1}, "the config")
    hosts.barrier("here")


def test_the_first_signal_is_noted_and_the_second_is_not():
    seen = []
    former = signal.signal(signal.SIGTERM, lambda *_: seen.append("former"))
    try:
        with stop_on_signals() as request:
            assert not request()
            os.kill(os.getpid(), signal.SIGTERM)
            assert request()
            assert request.signal is signal.SIGTERM
            assert seen == []
            os.kill(os.getpid(), signal.SIGTERM)
            assert seen == ["former"]
        os.kill(os.getpid(), signal.SIGTERM)
        assert seen == ["former", "former"]
    finally:
        signal.signal(signal.SIGTERM, former)


def test_other_threads_catch_nothing():
    found = []

    def inside():
        with stop_on_signals() as request:
            found.append(request())

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert found == [False]
