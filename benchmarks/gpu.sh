#!/usr/bin/env bash
# Everything that only a GPU can prove, on a machine with torch, triton, nvcc, cmake, ninja and
# pybind11 (and what peclip_fast imports) but without a network: build in place, test, sanitize,
# measure. Results go to $OUT, or to benchmarks/results. Ends with what failed.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-benchmarks/results}
mkdir -p "$out"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
python=${PYTHON:-python3}
failed=()

step() {
    local name=$1
    shift
    printf '\n== %s (%d s)\n' "$name" "$SECONDS"
    "$@" || failed+=("$name")
}

arch=$("$python" -c 'import torch; print("%d%d" % torch.cuda.get_device_capability())') || exit 1
export PECLIP_FAST_CUDA_ARCHS="$arch"
step build "$python" setup.py --quiet build_ext --inplace
step tests "$python" -m pytest -q tests/ops tests/kernels \
    tests/benchmarks/test_pe_clip_programs.py tests/engine/test_graphs.py -m "not slow"
if "$python" -c 'import av, nvidia.dali'; then
    step video "$python" -m pytest -q tests/data/loading/dali
    step data_loading "$python" -m benchmarks.data_loading --device cuda --output "$out"
else
    failed+=("video: needs av and nvidia-dali-cuda130")
fi
for tool in memcheck racecheck synccheck initcheck; do
    # Only tensors that were asked for, not the memory that PyTorch keeps around them.
    PYTORCH_NO_CUDA_MEMORY_CACHING=1 \
        step "$tool" compute-sanitizer --tool "$tool" --error-exitcode 1 \
        "$python" -m benchmarks.compile_checks.sanitize
done
# Every kernel, as a user's machine checks it; the files are the verdicts to ship.
for precision in fp32 bf16 fp16; do
    step "check $precision" "$python" -m peclip_fast check-gpu --config dfew --force \
        --train.device cuda --train.precision "$precision" \
        --output "$out/verdicts-$precision.json"
done
for operator in bottleneck_adapter temporal_adapter; do
    step "$operator" "$python" -m "benchmarks.$operator" --device cuda --output "$out"
done
step pe_clip "$python" -m benchmarks.pe_clip --device cuda --output "$out"
# The rest together in about three minutes.
step recomputation "$python" -m benchmarks.recomputation --device cuda --output "$out" \
    --backbones ViT-B-16-quickgelu --seconds 3
step scaling "$python" -m benchmarks.scaling --device cuda --output "$out" --frames 4 16 64 \
    --clips 1 4 16 --from-frames 16 --from-clips 4 --backbones --most-seconds 0.1 --seconds 0.5
step cold_start "$python" -m benchmarks.cold_start --device cuda --output "$out" \
    --what "first inference" --repeats 2
if "$python" -c 'import av, lightning_fabric, tensorboard'; then
    step end_to_end "$python" -m benchmarks.end_to_end --device cuda --output "$out" \
        --files "JPEG folder" --batches 4 --workers 8 --seconds 5
    step loss_curves "$python" -m benchmarks.loss_curves --device cuda --output "$out" \
        --seeds 42 43 --epochs 1
else
    failed+=("end_to_end and loss_curves: need av, lightning-fabric and tensorboard")
fi

printf '\n== summary (%d s)\n' "$SECONDS"
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
if [ "${#failed[@]}" -gt 0 ]; then
    printf 'failed: %s\n' "${failed[@]}"
    exit 1
fi
echo "all steps passed"
