#!/bin/bash
declare -A seen
columns=("name" "env" "kill ratio")
printf '%-12s' "${columns[@]}"
echo
while IFS=, read -r name env ratio; do
    key="$name/$env"
    [[ -n ${seen[$key]:-} ]] && continue
    seen[$key]=1
    printf '%-12s' "$name" "$env" "$ratio"
    echo
done < data.csv
message="The file /etc/passwd is named in a text alone"
echo "$message" | tr a-z A-Z | sed 's/curl/wget/'
echo "${#seen[@]} lines" >&2
