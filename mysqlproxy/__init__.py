"""mysqlproxy: a daemon that speaks the MySQL protocol in front of a replicated cluster.

Five words carry the rest of the code. A *client* is a program connected to the daemon. A *server* is a MySQL
or MariaDB server behind it: the *manager* takes writes, a *worker* is a replica that takes reads. A *statement*
gets a *verdict* (what it does), a *strategy* chooses among the servers that may take it, and a *session* is
one client's life in the daemon. ``session/engine.py`` reads as the life of a statement, top to bottom.
"""

__version__ = "0.1.0"
