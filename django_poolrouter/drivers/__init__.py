"""What a pool needs to do with a raw connection of any DB-API driver.

``process`` and the rooms above it may import this one.  No Django in here.
"""
