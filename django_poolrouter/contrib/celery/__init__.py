"""Celery: each task is a scope of its own, and sees what its sender wrote.

Add it to INSTALLED_APPS, for those who send tasks and for the workers.  Where a task reads
is said by an option of its own, ``@shared_task(reads="primary")``: one of
``django_poolrouter.jobs.READS``, by default "wait".
"""
