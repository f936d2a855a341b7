"""`linkpool up`: every part of linkpool on this machine, started, watched and stopped in order.

Import what you need from its modules; this one stays empty, because the modules that other
commands use (`data_dir`, `redis_server`) must not bring the rest along.
"""
