"""Three small apps for tests of routing.

`shop` is everybody's: it lives on `default`. `orders` is a whole app that a second cluster
owns. Of `billing` the second cluster owns single models, and the rest lives on `default`.
"""
