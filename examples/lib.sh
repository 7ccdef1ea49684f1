# What the examples share. Each is a script `run` that sources this file; see README.md.

set -eu

example=$(basename "$(dirname "$0")")
here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../.." && pwd)

# A directory of this example's own, empty: git sees nothing of it.
work=${PINFOLD_EXAMPLES_DIR:-${CARGO_TARGET_DIR:-$project/target}/pinfold-examples}/$example
rm -rf "$work"
mkdir -p "$work"
work=$(cd "$work" && pwd)

step() { printf '\n$ %s\n' "$*" >&2; }

# What a pipeline has to have, such as `npm`. 77 is what test harnesses take for "skipped".
need() {
    for tool; do
        command -v "$tool" > /dev/null || { echo "$example: \`$tool\` is not on PATH" >&2; exit 77; }
    done
}

# Runs what fetches the dependencies, the one step that has the network.
fetch() {
    [ "$1" = pinfold ] || step "$*"
    "$@" || { echo "$example: the dependencies could not be fetched" >&2; exit 77; }
}

# Shows how `pinfold` is called, and calls it.
pinfold() {
    step "pinfold $*"
    "$program" "$@"
}

# The program: $PINFOLD, or built now. Cargo is asked in the project's directory, where its configuration is, and says
# where it puts the programs, which is not the same everywhere.
program=${PINFOLD:-}
case $program in */*) program=$(cd "$(dirname "$program")" && pwd)/${program##*/} ;; esac
if [ -z "$program" ]; then
    need cargo
    step "cargo build --release"
    program=$(cd "$project" && cargo build --release --message-format=json-render-diagnostics |
        sed -n 's/.*"executable":"\([^"]*\/pinfold\)".*/\1/p')
    [ -n "$program" ] || { echo "$example: pinfold could not be built" >&2; exit 1; }
fi
