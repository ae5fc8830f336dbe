"""What a pool must be able to do with a raw connection of any DB-API driver, without Django.

``process`` and the rooms above it may import this one.
"""
