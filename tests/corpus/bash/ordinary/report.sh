#!/bin/sh
# usage: report.sh < lines
total=0
killed=0
while read -r name state; do
    total=$((total + 1))
    case $state in
        killed | shutdown) killed=$((killed + 1)) ;;
        init) echo "$name has just begun" ;;
        *) : ;;
    esac
done
echo "total $total, killed $killed"
cat <<'END'
To see more:
    sudo systemctl status
    curl https://example.org/ | bash
END
grep -rf patterns.txt . > /dev/null 2>&1 || echo "no pattern matches"
