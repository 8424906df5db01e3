#!/usr/bin/env bash
# Several processes on one machine, each with virtual CPU devices; the tests run this.
#
#   experiments/launch/one_machine.sh 2 4 --config experiments/train/configs/digits.py \
#       --workdir outputs/two_processes
#
# The first argument is the number of processes, the second the devices of each. On a machine with
# GPUs one process drives all of them and no launcher is needed: python -m experiments.train ...
set -euo pipefail
processes=$1 devices=$2
shift 2
python=${PYTHON:-python}
port=${PORT:-$((20000 + RANDOM % 20000))}
export JAX_PLATFORMS=cpu XLA_FLAGS="--xla_force_host_platform_device_count=$devices"
pids=()
trap 'kill -TERM "${pids[@]}" 2>/dev/null || true' TERM INT
for ((i = 0; i < processes; i++)); do
    "$python" -m experiments.train "$@" \
        --coordinator "127.0.0.1:$port" --num_processes "$processes" --process_id "$i" &
    pids+=($!)
done
code=0
for pid in "${pids[@]}"; do
    # A signal ends `wait`; the process is then waited for again.
    while kill -0 "$pid" 2>/dev/null; do wait "$pid" || true; done
    wait "$pid" || code=$?
done
exit "$code"
