import csv
import io
import statistics
import textwrap
from pathlib import PurePosixPath

ROWS = """name,system,locals
anna,linux,3
bert,bsd,5
cora,linux,8
"""


def table(text):
    return list(csv.DictReader(io.StringIO(text)))


rows = table(ROWS)
by_system = {}
for row in rows:
    by_system.setdefault(row["system"], []).append(int(row["locals"]))
for system, numbers in sorted(by_system.items()):
    print(f"{system:<8}{statistics.mean(numbers):>6.1f}")
print(textwrap.fill("The vars() of a report are its rows; getattr is for others.", 30))
print(PurePosixPath("/etc/passwd").name, "is a name like any other")
