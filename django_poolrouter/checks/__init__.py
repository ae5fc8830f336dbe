"""System checks: what ``manage.py check`` says about the settings.

Only ``apps`` may import this room.
"""
