"""``mysqlproxy bench``: sysbench through the daemon, through HAProxy and directly, in turns, and its report."""
