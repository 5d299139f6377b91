"""The Celery application: settings from the environment, one task."""

import json
import os

from celery import Celery

import stand

app = Celery("peers")
app.conf.update(**json.loads(os.environ["PEER_CELERY"]))


@app.task(name="noop")
def noop(payload):
    """Does nothing and leaves its result."""
    return stand.RESULT
