#!/bin/bash
# A menu: reboot and shutdown are only words here.
options=(reboot shutdown cancel)
select_option() {
    local wanted=$1 option
    for option in "${options[@]}"; do
        if [ "$option" = "$wanted" ]; then
            echo "$option"
            return 0
        fi
    done
    return 1
}
choice=$(select_option "${1:-cancel}") || { echo "unknown" >&2; exit 2; }
echo "would do: $choice"
test "$choice" = cancel && exit 0
echo "but doesn't" > result.txt
