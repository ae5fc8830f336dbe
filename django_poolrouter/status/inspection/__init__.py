"""What the servers say of themselves when they are asked.

``management`` and ``contrib`` may import this room.
"""
