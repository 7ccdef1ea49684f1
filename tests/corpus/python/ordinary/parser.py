import re
from collections import namedtuple

Token = namedtuple("Token", "kind value")
PATTERN = re.compile(r"\s*(?:(\d+)|(.))")


def tokens(text):
    for number, operator in PATTERN.findall(text):
        yield Token("number", int(number)) if number else Token("operator", operator)
    yield Token("end", None)


def expression(stream, current):
    value, current = term(stream, current)
    while current.value in ("+", "-"):
        sign = 1 if current.value == "+" else -1
        other, current = term(stream, next(stream))
        value += sign * other
    return value, current


def term(stream, current):
    value, current = current.value, next(stream)
    while current.value == "*":
        value *= next(stream).value
        current = next(stream)
    return value, current


def evaluate(text):
    stream = tokens(text)
    return expression(stream, next(stream))[0]


# Instead of eval("2 + 3 * 4"):
print(evaluate("2 + 3 * 4 - 1"))
