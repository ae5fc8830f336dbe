"""What a statement does to the data and the session, judged by its text alone.

It needs neither Django nor a driver.  Every other room may import this one.
"""
