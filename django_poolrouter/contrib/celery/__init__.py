"""Gives each Celery task a scope of its own, in which it sees what its sender wrote.

Add this app to INSTALLED_APPS, both where tasks are sent and in the workers.  The option
``reads`` of a task says where it reads, as in ``@shared_task(reads="primary")``.  It is one of
``django_poolrouter.jobs.READS``, by default "wait".
"""
