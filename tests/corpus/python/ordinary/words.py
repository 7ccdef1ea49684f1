import sys

counts = {}
for line in sys.stdin:
    for word in line.lower().split():
        counts[word] = counts.get(word, 0) + 1
with open("stop.txt") as stop:
    for word in stop.read().split():
        counts.pop(word, None)
for word, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:10]:
    print(f"{count:6} {word}")
