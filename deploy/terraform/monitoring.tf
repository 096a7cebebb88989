resource "aws_cloudwatch_log_group" "hosts" {
  name              = "/${var.name}/hosts"
  kms_key_id        = aws_kms_key.chain.arn
  retention_in_days = var.log_retention_days
}

resource "aws_cloudwatch_log_group" "flow" {
  name              = "/${var.name}/flow"
  kms_key_id        = aws_kms_key.chain.arn
  retention_in_days = var.log_retention_days
}

locals {
  alarm_actions = var.alarm_topic_arn == null ? [] : [var.alarm_topic_arn]
  # What each hop says of the next one, and the proxy of the servers (docs/configuration.md, mysqlproxy_server_up).
  watched = merge(
    { trusted-host = "gatekeeper", proxy = "trusted-host", manager = "proxy" },
    { for name in local.worker_names : name => "proxy" },
  )
}

resource "aws_cloudwatch_metric_alarm" "down" {
  for_each = local.watched

  alarm_name          = "${var.name}-${each.key}-down"
  alarm_description   = "${each.value} does not reach ${each.key}"
  namespace           = var.name
  metric_name         = "mysqlproxy_server_up"
  dimensions          = { host = each.value, server = each.key }
  statistic           = "Minimum"
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  period              = 60
  evaluation_periods  = 2
  treat_missing_data  = "breaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "host" {
  for_each = local.host_names

  alarm_name          = "${var.name}-${each.key}-status"
  alarm_description   = "The machine ${each.key} fails its status checks"
  namespace           = "AWS/EC2"
  metric_name         = "StatusCheckFailed"
  dimensions          = { InstanceId = aws_instance.host[each.key].id }
  statistic           = "Maximum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  period              = 60
  evaluation_periods  = 3
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "lag" {
  for_each = toset(local.worker_names)

  alarm_name          = "${var.name}-${each.key}-lag"
  alarm_description   = "${each.key} is so far behind that the proxy gives it no reads, or does not replicate"
  namespace           = var.name
  metric_name         = "mysqlproxy_replica_lag_seconds"
  dimensions          = { host = "proxy", server = each.key }
  statistic           = "Minimum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 10 # the proxy's monitor.max_replica_lag
  period              = 60
  evaluation_periods  = 5
  treat_missing_data  = "breaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "disk" {
  for_each = local.host_names

  alarm_name          = "${var.name}-${each.key}-disk"
  alarm_description   = "The disk of ${each.key} fills up"
  namespace           = var.name
  metric_name         = "disk_used_percent"
  dimensions          = { InstanceId = aws_instance.host[each.key].id, path = "/" }
  statistic           = "Maximum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 80
  period              = 300
  evaluation_periods  = 2
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "managed_storage" {
  for_each = var.servers == "rds" ? toset(concat(["manager"], local.worker_names)) : []

  alarm_name          = "${var.name}-${each.key}-storage"
  alarm_description   = "The storage of ${each.key} fills up"
  namespace           = "AWS/RDS"
  metric_name         = "FreeStorageSpace"
  dimensions          = { DBInstanceIdentifier = "${var.name}-${each.key}" }
  statistic           = "Minimum"
  comparison_operator = "LessThanThreshold"
  threshold           = var.server_storage * 0.2 * pow(1024, 3)
  period              = 300
  evaluation_periods  = 2
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
}
