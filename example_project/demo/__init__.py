"""python -m example_project.demo: the shop on real servers, under traffic, and what that shows."""
