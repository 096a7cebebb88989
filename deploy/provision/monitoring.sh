#!/usr/bin/env bash
# Lets the CloudWatch agent send this machine's logs, the daemon's metrics, memory and disks.
# ROLE, NAME, SECRET (its prefix is the namespace) and LOG_GROUP come from the environment.
set -euo pipefail

etc=/opt/aws/amazon-cloudwatch-agent/etc
mkdir -p "$etc"
namespace=${SECRET%%/*}
case $ROLE in
manager | worker) file=/var/log/mariadb/mariadb.log ;;
*) file=/var/log/mysqlproxy/daemon.log ;;
esac

cat >"$etc/prometheus.yaml" <<YAML
scrape_configs:
  - job_name: mysqlproxy
    scrape_interval: 15s
    static_configs:
      - targets: ["127.0.0.1:9104"]
        labels:
          host: $NAME
YAML
cat >"$etc/mysqlproxy.json" <<JSON
{
  "metrics": {
    "namespace": "$namespace",
    "append_dimensions": { "InstanceId": "\${aws:InstanceId}" },
    "aggregation_dimensions": [["InstanceId", "path"]],
    "metrics_collected": {
      "mem": { "measurement": ["used_percent"] },
      "disk": { "measurement": ["used_percent"], "resources": ["/"] }
    }
  },
  "logs": {
    "logs_collected": {
      "files": {
        "collect_list": [{ "file_path": "$file", "log_group_name": "$LOG_GROUP", "log_stream_name": "$NAME" }]
      }
    },
    "metrics_collected": {
      "prometheus": {
        "log_group_name": "$LOG_GROUP",
        "prometheus_config_path": "$etc/prometheus.yaml",
        "emf_processor": {
          "metric_namespace": "$namespace",
          "metric_declaration": [
            {
              "source_labels": ["job"],
              "label_matcher": "^mysqlproxy$",
              "dimensions": [["host", "server"]],
              "metric_selectors": ["^mysqlproxy_server_(up|readable|manager)$", "^mysqlproxy_replica_lag_seconds$"]
            },
            {
              "source_labels": ["job"],
              "label_matcher": "^mysqlproxy$",
              "dimensions": [["host"]],
              "metric_selectors": ["^mysqlproxy_client_connections$", "^mysqlproxy_(denied|logins)_total$"]
            }
          ]
        }
      }
    }
  }
}
JSON
/opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl -a fetch-config -m ec2 -s -c "file:$etc/mysqlproxy.json"
