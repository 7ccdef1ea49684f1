#!/usr/bin/env bash
compiler=${CC:-cc}
flags=(-O2 -Wall)
sources=()

initialize() {
    mapfile -t sources < <(find src -name '*.c' | sort)
}

compile() {
    local source=$1 object
    object="build/$(basename "${source%.c}").o"
    "$compiler" "${flags[@]}" -c "$source" -o "$object"
}

initialize
mkdir -p build
for source in "${sources[@]}"; do
    compile "$source" || exit 1
done
"$compiler" -o build/program build/*.o
echo "built build/program; run it with ./build/program, not with sudo"
