#!/bin/bash
# The image of mariadb sources this when the manager is new: the account of the daemon's monitor.
docker_process_sql <<SQL
CREATE USER monitor@'%' IDENTIFIED BY '$(docker_sql_escape_string_literal "$MONITOR_PASSWORD")';
GRANT SLAVE MONITOR, BINLOG MONITOR, SELECT, SHOW VIEW, TRIGGER ON *.* TO monitor@'%';
SQL
