"""Questions to the servers, and advice that follows from the answers.

``management`` and ``contrib`` may import this room.
"""
