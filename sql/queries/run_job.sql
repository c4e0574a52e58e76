-- Run one of the server's jobs here and now.
call run_job(%(job_id)s)
