"""What a statement does to data and session, told from its text: no Django and no driver in here.

Every other room may import this one.
"""
