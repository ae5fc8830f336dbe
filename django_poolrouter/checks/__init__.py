"""System checks: what ``manage.py check`` says of the settings.

Only ``apps`` may import this room.
"""
