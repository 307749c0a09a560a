#!/bin/bash
#SBATCH --job-name=train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --time=01:00:00
# sbatch slurm.sh train.py --epochs 3
set -euo pipefail

# A folder that all nodes of the job see.
export HGLOC_DATASETS_STORE_PATH="${HGLOC_DATASETS_STORE_PATH:-$HOME/datasets_store}"

# Bucket and credentials: lines `export HGLOC_...=...` in a file that you alone can read.
settings="${HGLOC_SETTINGS_FILE:-$HOME/.config/hf_localize.sh}"
if [[ -f "$settings" ]]; then
    # shellcheck source=/dev/null
    source "$settings"
fi

# Once a job, here on its first node.
HGLOC_SOURCES=local,s3,public hg-localize download openai/gsm8k --name main --no-s3-upload

# Then on every node, from the shared store alone; srun hands the environment on.
HGLOC_SOURCES=local srun hg-localize run -- python "$@"
