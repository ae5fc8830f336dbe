"""gunicorn as the demo and the tests run it: two processes of four threads."""

workers = 2
threads = 4
worker_class = "gthread"
# gunicorn 25.1+ opens a control socket in the home directory by default; nobody uses it here.
control_socket_disable = True
