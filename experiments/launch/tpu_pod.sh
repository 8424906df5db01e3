#!/usr/bin/env bash
# A Cloud TPU pod slice: the same command on every virtual machine. An example: it was not run here.
#
#   TPU=my-v5e-32 ZONE=us-central1-a experiments/launch/tpu_pod.sh \
#       --config experiments/train/configs/cifar10.py --data_dir /mnt/data --workdir /mnt/runs/cifar10
#
# Each machine needs a clone with `pip install -e '.[experiments]' 'jax[tpu]'`, and the work
# directory on a file system that all of them mount. The processes find each other by the machine's
# metadata (softeq_jax.training.hosts.detect). Under GKE no script is needed: put the same command
# into the JobSet, whose variables TPU_WORKER_ID and TPU_WORKER_HOSTNAMES are read.
set -euo pipefail
: "${TPU:?name of the TPU}" "${ZONE:?its zone}"
gcloud compute tpus tpu-vm ssh "$TPU" --zone "$ZONE" --worker all \
    --command "cd softeq_jax && .venv/bin/python -m experiments.train $(printf '%q ' "$@")"
