# Managed servers in place of own ones: RDS, a manager with a standby and read replicas by GTID; or Aurora.

resource "aws_db_subnet_group" "servers" {
  count = local.managed ? 1 : 0

  name       = var.name
  subnet_ids = aws_subnet.private[*].id
}

resource "aws_db_parameter_group" "servers" {
  count = var.servers == "rds" ? 1 : 0

  name_prefix = "${var.name}-"
  family      = "mysql8.4"

  parameter {
    name         = "gtid-mode"
    value        = "ON"
    apply_method = "pending-reboot"
  }

  parameter {
    name         = "enforce_gtid_consistency"
    value        = "ON"
    apply_method = "pending-reboot"
  }

  parameter {
    name         = "require_secure_transport"
    value        = "1"
    apply_method = "pending-reboot"
  }

  parameter {
    name         = "log_bin_trust_function_creators"
    value        = "1"
    apply_method = "pending-reboot"
  }

  lifecycle {
    create_before_destroy = true
  }
}

# RDS would make them itself, without the key and for ever.
resource "aws_cloudwatch_log_group" "managed" {
  for_each = local.managed ? toset(var.servers == "aurora" ? ["cluster/${var.name}"] : [for name in concat(["manager"], local.worker_names) : "instance/${var.name}-${name}"]) : []

  name              = "/aws/rds/${each.key}/error"
  kms_key_id        = aws_kms_key.chain.arn
  retention_in_days = var.log_retention_days
}

resource "aws_db_instance" "manager" {
  count = var.servers == "rds" ? 1 : 0

  identifier     = "${var.name}-manager"
  engine         = "mysql"
  engine_version = "8.4"
  instance_class = var.instance_types.managed
  db_name        = "app"
  username       = "master"
  multi_az       = true

  # RDS makes the password and keeps it in Secrets Manager: it never comes to Terraform.
  manage_master_user_password   = true
  master_user_secret_kms_key_id = aws_kms_key.chain.arn

  allocated_storage = var.server_storage
  storage_type      = "gp3"
  storage_encrypted = true
  kms_key_id        = aws_kms_key.chain.arn

  db_subnet_group_name   = aws_db_subnet_group.servers[0].name
  parameter_group_name   = aws_db_parameter_group.servers[0].name
  vpc_security_group_ids = [aws_security_group.group["manager"].id]
  publicly_accessible    = false

  backup_retention_period         = 7
  copy_tags_to_snapshot           = true
  deletion_protection             = var.deletion_protection
  skip_final_snapshot             = false
  final_snapshot_identifier       = "${var.name}-final"
  auto_minor_version_upgrade      = true
  enabled_cloudwatch_logs_exports = ["error"] # a slow log would hold what clients write
  performance_insights_enabled    = true
  performance_insights_kms_key_id = aws_kms_key.chain.arn
  monitoring_interval             = 60
  monitoring_role_arn             = aws_iam_role.rds_monitoring[0].arn

  depends_on = [aws_cloudwatch_log_group.managed]
}

resource "aws_db_instance" "worker" {
  count = var.servers == "rds" ? var.workers : 0

  identifier          = "${var.name}-worker${count.index + 1}"
  replicate_source_db = aws_db_instance.manager[0].identifier
  instance_class      = var.instance_types.managed
  availability_zone   = local.zones[(count.index + 1) % 2]

  storage_encrypted      = true
  parameter_group_name   = aws_db_parameter_group.servers[0].name
  vpc_security_group_ids = [aws_security_group.group["worker"].id]
  publicly_accessible    = false

  copy_tags_to_snapshot           = true
  deletion_protection             = var.deletion_protection
  skip_final_snapshot             = true
  auto_minor_version_upgrade      = true
  enabled_cloudwatch_logs_exports = ["error"] # a slow log would hold what clients write
  performance_insights_enabled    = true
  performance_insights_kms_key_id = aws_kms_key.chain.arn
  monitoring_interval             = 60
  monitoring_role_arn             = aws_iam_role.rds_monitoring[0].arn

  depends_on = [aws_cloudwatch_log_group.managed]
}

# Aurora's storage is one for all its instances; when the writer is lost, one of the others takes over behind the same name.
resource "aws_rds_cluster_parameter_group" "servers" {
  count = var.servers == "aurora" ? 1 : 0

  name_prefix = "${var.name}-"
  family      = "aurora-mysql8.0"

  parameter {
    name  = "require_secure_transport"
    value = "ON"
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_rds_cluster" "servers" {
  count = var.servers == "aurora" ? 1 : 0

  cluster_identifier = var.name
  engine             = "aurora-mysql"
  engine_version     = "8.0"
  database_name      = "app"
  master_username    = "master"

  manage_master_user_password   = true
  master_user_secret_kms_key_id = aws_kms_key.chain.arn

  storage_encrypted = true
  kms_key_id        = aws_kms_key.chain.arn

  db_subnet_group_name            = aws_db_subnet_group.servers[0].name
  db_cluster_parameter_group_name = aws_rds_cluster_parameter_group.servers[0].name
  vpc_security_group_ids          = [aws_security_group.group["manager"].id]

  backup_retention_period         = 7
  copy_tags_to_snapshot           = true
  deletion_protection             = var.deletion_protection
  skip_final_snapshot             = false
  final_snapshot_identifier       = "${var.name}-final"
  enabled_cloudwatch_logs_exports = ["error"]

  depends_on = [aws_cloudwatch_log_group.managed]
}

resource "aws_rds_cluster_instance" "server" {
  count = var.servers == "aurora" ? var.workers + 1 : 0

  identifier         = "${var.name}-${count.index + 1}"
  cluster_identifier = aws_rds_cluster.servers[0].id
  engine             = aws_rds_cluster.servers[0].engine
  instance_class     = var.instance_types.managed
  availability_zone  = local.zones[count.index % 2]

  publicly_accessible             = false
  copy_tags_to_snapshot           = true
  auto_minor_version_upgrade      = true
  performance_insights_enabled    = true
  performance_insights_kms_key_id = aws_kms_key.chain.arn
  monitoring_interval             = 60
  monitoring_role_arn             = aws_iam_role.rds_monitoring[0].arn
}

resource "aws_iam_role" "rds_monitoring" {
  count = local.managed ? 1 : 0

  name = "${var.name}-rds-monitoring"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "monitoring.rds.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "rds_monitoring" {
  count = local.managed ? 1 : 0

  role       = aws_iam_role.rds_monitoring[0].name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole"
}
