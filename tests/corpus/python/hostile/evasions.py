getattr(os, "sys" + "tem")("id")
e = eval
a = [eval][0]
b, c = 1, exec
f"{eval(1)}"
def f(x=eval): pass
d = {"a": eval}
(lambda: eval)()("1")
(eval)(1)
ｅval(1)
𝐞𝐯𝐚𝐥(1)
(e := eval)("1")
print(map(eval, x))
sorted(x, key=eval)
__import__("o" + "s").system("id")
__builtins__["ev" + "al"]("1")
import importlib; importlib.import_module("o"+"s")
from os import system as s
import os as o
import builtins
().__class__.__base__
vars(x)["sys" + "tem"]
import \
 os
@eval
def f(): pass
x = y or eval
globals()["__bu" + "iltins__"]
