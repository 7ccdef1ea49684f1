import math
import random


class Model:
    """A model as libraries for learning have it: model.eval() is no eval."""

    def __init__(self, weights):
        self.weights = weights
        self.training = True

    def eval(self):
        self.training = False
        return self

    def compile(self, optimizer):
        self.optimizer = optimizer

    def forward(self, inputs):
        total = sum(weight * value for weight, value in zip(self.weights, inputs))
        return 1 / (1 + math.exp(-total))


random.seed(7)
model = Model([random.random() for _ in range(3)])
model.compile(optimizer="sgd")
print(f"{model.eval().forward([1.0, 0.5, -2.0]):.3f}")
