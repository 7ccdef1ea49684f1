"""Settings of an environment: evaluated lazily, never read from os.environ."""
from dataclasses import dataclass, field


@dataclass
class Environment:
    name: str
    evaluated: bool = False
    variables: dict = field(default_factory=dict)

    def evaluate(self, expression):
        # No eval( here: names are looked up, as `exec` would never do it.
        self.evaluated = True
        return self.variables.get(expression, expression)

    def dir(self):
        return sorted(self.variables)


env = Environment("staging", variables={"system": "blue", "open": "yes"})
print(env.evaluate("system"), env.dir(), env.evaluated)
print("import os; os.system('rm -rf /') is only a text")
