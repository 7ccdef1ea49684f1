#!/usr/bin/env bash
# Copies what has changed. Nothing of curl, sudo or rm -rf is needed for that.
set -euo pipefail

environment=${1:-staging}
target="backup-$environment"
mkdir -p "$target"

log() {
    printf '%s %s\n' "$(date +%H:%M)" "$*"
}

for file in *.txt; do
    [ -e "$file" ] || continue
    if ! cmp -s "$file" "$target/$file"; then
        cp -p "$file" "$target/$file"
        log "copied $file for the environment $environment"
    fi
done
log "exported: $(find "$target" -type f | wc -l)" >&2
rm -f "$target/.lock"
