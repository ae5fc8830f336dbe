"""A site with other people's packages, on one database or on one with replicas."""
