# Each host has a role of its own, which may read its own secret, the bundle, and write its logs and metrics.

locals {
  host_names = toset(concat(keys(local.hops), keys(local.servers)))
}

data "aws_iam_policy_document" "instance" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "host" {
  for_each = local.host_names

  name               = "${var.name}-${each.key}"
  assume_role_policy = data.aws_iam_policy_document.instance.json
}

resource "aws_iam_instance_profile" "host" {
  for_each = local.host_names

  name = "${var.name}-${each.key}"
  role = aws_iam_role.host[each.key].name
}

data "aws_iam_policy_document" "host" {
  for_each = local.host_names

  statement {
    sid       = "OwnSecret"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [aws_secretsmanager_secret.host[each.key].arn]
  }

  statement {
    sid       = "Bundle"
    actions   = ["s3:GetObject"]
    resources = ["${aws_s3_bucket.package.arn}/${aws_s3_object.package.key}"]
  }

  statement {
    sid       = "Decrypt"
    actions   = ["kms:Decrypt"]
    resources = [aws_kms_key.chain.arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = [for service in ["secretsmanager", "s3"] : "${service}.${data.aws_region.current.region}.amazonaws.com"]
    }
  }

  statement {
    sid       = "Logs"
    actions   = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.hosts.arn}:*"]
  }

  statement {
    sid       = "Metrics"
    actions   = ["cloudwatch:PutMetricData"]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "cloudwatch:namespace"
      values   = [var.name]
    }
  }

  # None of these takes a resource.
  statement {
    sid       = "Sessions"
    actions   = concat(local.services.ssm, local.services.ssmmessages, local.services.ec2messages)
    resources = ["*"]
  }
}

resource "aws_iam_role_policy" "host" {
  for_each = local.host_names

  name   = "host"
  role   = aws_iam_role.host[each.key].id
  policy = data.aws_iam_policy_document.host[each.key].json
}

# The proxy makes the accounts on managed servers, once, with the password that RDS keeps.
resource "aws_iam_role_policy" "managed" {
  count = local.managed ? 1 : 0

  name   = "managed-servers"
  role   = aws_iam_role.host["proxy"].id
  policy = data.aws_iam_policy_document.managed[0].json
}

data "aws_iam_policy_document" "managed" {
  count = local.managed ? 1 : 0

  statement {
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [local.master_secret]
  }
}

resource "aws_iam_role" "flow_log" {
  name = "${var.name}-flow-log"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "vpc-flow-logs.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "flow_log" {
  name = "flow-log"
  role = aws_iam_role.flow_log.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
      Resource = "${aws_cloudwatch_log_group.flow.arn}:*"
    }]
  })
}
