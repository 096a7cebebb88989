"""A customers API on Flask and PyMySQL, as an application that knows the daemon as any managed MySQL."""
