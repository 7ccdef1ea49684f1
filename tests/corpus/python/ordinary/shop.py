from decimal import Decimal
import datetime
import json

OPENING = datetime.time(8, 30)


class Door:
    def open(self):
        return "opened"

    def kill_the_lights(self):
        return "dark"


class Account:
    def __init__(self, owner, balance):
        self.owner, self.balance = owner, Decimal(balance)

    def remove(self, amount):
        if amount > self.balance:
            raise ValueError("not enough: the system has no credit")
        self.balance -= amount
        return self.balance


door = Door()
account = Account("Ada", "12.50")
account.remove(Decimal("2.25"))
print(door.open(), door.kill_the_lights(), OPENING.isoformat())
print(json.dumps({"owner": account.owner, "balance": str(account.balance), "file": "none"}))
