# Secrets are made here without a value: deploy/provision/put_secrets.sh gives them one, past Terraform and its state.

resource "aws_kms_key" "chain" {
  description         = "${var.name}: disks, secrets, logs, the bundle"
  enable_key_rotation = true
  policy              = data.aws_iam_policy_document.key.json
}

resource "aws_kms_alias" "chain" {
  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.chain.id
}

data "aws_iam_policy_document" "key" {
  statement {
    sid       = "Account"
    actions   = ["kms:*"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}:root"]
    }
  }

  statement {
    sid       = "Logs"
    actions   = ["kms:Encrypt*", "kms:Decrypt*", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:Describe*"]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["logs.${data.aws_region.current.region}.amazonaws.com"]
    }

    condition {
      test     = "ArnLike"
      variable = "kms:EncryptionContext:aws:logs:arn"
      values = [for group in ["/${var.name}/*", "/aws/rds/*/${var.name}*"] :
        "arn:${data.aws_partition.current.partition}:logs:${data.aws_region.current.region}:${data.aws_caller_identity.current.account_id}:log-group:${group}"
      ]
    }
  }
}

resource "aws_secretsmanager_secret" "host" {
  for_each = local.host_names

  name        = "${var.name}/${each.key}"
  description = "Keys and passwords of ${each.key}, and of nobody else"
  kms_key_id  = aws_kms_key.chain.arn

  # Without protection the names can be used again at once, by the next `apply`.
  recovery_window_in_days = var.deletion_protection ? 30 : 0
}

resource "aws_s3_bucket" "package" {
  bucket_prefix = "${var.name}-"
  force_destroy = true
}

resource "aws_s3_bucket_public_access_block" "package" {
  bucket = aws_s3_bucket.package.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_versioning" "package" {
  bucket = aws_s3_bucket.package.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "package" {
  bucket = aws_s3_bucket.package.id

  rule {
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.chain.arn
    }
  }
}

resource "aws_s3_bucket_policy" "package" {
  bucket = aws_s3_bucket.package.id
  policy = data.aws_iam_policy_document.package.json
}

data "aws_iam_policy_document" "package" {
  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.package.arn, "${aws_s3_bucket.package.arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_s3_object" "package" {
  bucket      = aws_s3_bucket.package.id
  key         = "mysqlproxy-bundle.tar.gz"
  source      = var.package
  source_hash = filemd5(var.package)

  depends_on = [
    aws_s3_bucket_policy.package,
    aws_s3_bucket_public_access_block.package,
    aws_s3_bucket_server_side_encryption_configuration.package,
  ]
}
