# One public subnet's host, the gatekeeper, talks to clients. The private subnets have no way to the internet at all:
# packages, secrets and logs come and go by the VPC's endpoints.

resource "aws_vpc" "chain" {
  cidr_block           = var.vpc_cidr
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = { Name = var.name }
}

# Nobody uses it; it lets nothing through.
resource "aws_default_security_group" "closed" {
  vpc_id = aws_vpc.chain.id
}

resource "aws_subnet" "public" {
  count = 2

  vpc_id            = aws_vpc.chain.id
  availability_zone = local.zones[count.index]
  cidr_block        = local.public[count.index]
  tags              = { Name = "${var.name}-public-${count.index}" }
}

resource "aws_subnet" "private" {
  count = 2

  vpc_id            = aws_vpc.chain.id
  availability_zone = local.zones[count.index]
  cidr_block        = local.private[count.index]
  tags              = { Name = "${var.name}-private-${count.index}" }
}

resource "aws_internet_gateway" "chain" {
  vpc_id = aws_vpc.chain.id
  tags   = { Name = var.name }
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.chain.id
  tags   = { Name = "${var.name}-public" }

  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.chain.id
  }
}

resource "aws_route_table" "private" {
  vpc_id = aws_vpc.chain.id
  tags   = { Name = "${var.name}-private" }
}

resource "aws_route_table_association" "public" {
  count = 2

  subnet_id      = aws_subnet.public[count.index].id
  route_table_id = aws_route_table.public.id
}

resource "aws_route_table_association" "private" {
  count = 2

  subnet_id      = aws_subnet.private[count.index].id
  route_table_id = aws_route_table.private.id
}

resource "aws_vpc_endpoint" "s3" {
  vpc_id            = aws_vpc.chain.id
  service_name      = "com.amazonaws.${data.aws_region.current.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [aws_route_table.public.id, aws_route_table.private.id]
  policy            = data.aws_iam_policy_document.s3_endpoint.json
  tags              = { Name = "${var.name}-s3" }
}

# The bundle, and Amazon Linux's packages.
data "aws_iam_policy_document" "s3_endpoint" {
  statement {
    actions = ["s3:GetObject"]
    resources = [
      "${aws_s3_bucket.package.arn}/*",
      "arn:${data.aws_partition.current.partition}:s3:::al2023-repos-${data.aws_region.current.region}-de612dc2/*",
    ]

    principals {
      type        = "*"
      identifiers = ["*"]
    }
  }
}

locals {
  # What hosts may ask of each service; iam.tf says of what in it.
  services = {
    secretsmanager = ["secretsmanager:GetSecretValue"]
    logs           = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
    monitoring     = ["cloudwatch:PutMetricData"]
    # Session Manager and Run Command, for operators in place of SSH.
    ssm = ["ssm:UpdateInstanceInformation"]
    ssmmessages = [for what in ["CreateControlChannel", "CreateDataChannel", "OpenControlChannel", "OpenDataChannel"] :
      "ssmmessages:${what}"
    ]
    ec2messages = [
      for what in ["AcknowledgeMessage", "DeleteMessage", "FailMessage", "GetEndpoint", "GetMessages", "SendReply"] :
      "ec2messages:${what}"
    ]
  }
}

resource "aws_vpc_endpoint" "interface" {
  for_each = local.services

  vpc_id              = aws_vpc.chain.id
  service_name        = "com.amazonaws.${data.aws_region.current.region}.${each.key}"
  vpc_endpoint_type   = "Interface"
  private_dns_enabled = true
  subnet_ids          = aws_subnet.private[*].id
  security_group_ids  = [aws_security_group.group["endpoints"].id]
  policy              = data.aws_iam_policy_document.interface_endpoint[each.key].json
  tags                = { Name = "${var.name}-${each.key}" }
}

data "aws_iam_policy_document" "interface_endpoint" {
  for_each = local.services

  statement {
    actions   = each.value
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["*"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:PrincipalAccount"
      values   = [data.aws_caller_identity.current.account_id]
    }
  }
}

resource "aws_flow_log" "chain" {
  vpc_id          = aws_vpc.chain.id
  traffic_type    = "ALL"
  iam_role_arn    = aws_iam_role.flow_log.arn
  log_destination = aws_cloudwatch_log_group.flow.arn
}
