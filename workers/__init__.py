"""Do the work: plan, understand and finish over claims, run by the embedded runner or by Celery."""
