# The hosts of the chain: gatekeeper -> trusted host -> proxy -> manager and workers.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

data "aws_availability_zones" "available" {
  state = "available"
}

data "aws_ssm_parameter" "ami" {
  name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
}

locals {
  zones   = slice(data.aws_availability_zones.available.names, 0, 2)
  public  = [for number in range(2) : cidrsubnet(var.vpc_cidr, 8, number)]
  private = [for number in range(2) : cidrsubnet(var.vpc_cidr, 8, 10 + number)]

  hops = {
    gatekeeper   = { role = "gatekeeper", group = "gatekeeper", zone = 0, number = 10 }
    trusted-host = { role = "trusted_host", group = "trusted_host", zone = 0, number = 11 }
    proxy        = { role = "proxy", group = "proxy", zone = 0, number = 12 }
  }
  managed = var.servers != "own"
  # What the proxy may read from: Aurora's replicas tell no GTIDs, and the daemon takes none without.
  worker_names = var.servers == "aurora" ? [] : [for number in range(1, var.workers + 1) : "worker${number}"]
  servers = local.managed ? {} : merge(
    { manager = { role = "manager", group = "manager", zone = 0, number = 20 } },
    { for number, name in local.worker_names : name =>
      { role = "worker", group = "worker", zone = (number + 1) % 2, number = 21 + number }
    },
  )

  # Addresses are given out here, so that every host can be told all names before any of them is there.
  hosts = { for name, host in merge(local.hops, local.servers) : name => merge(host, {
    subnet = host.group == "gatekeeper" ? aws_subnet.public[host.zone].id : aws_subnet.private[host.zone].id
    address = cidrhost(
      host.group == "gatekeeper" ? local.public[host.zone] : local.private[host.zone], host.number
    )
    type     = contains(keys(local.hops), name) ? var.instance_types.hop : var.instance_types.server
    storage  = contains(keys(local.hops), name) ? 20 : var.server_storage
    packages = contains(keys(local.hops), name) ? ["python3.11"] : [var.server_package]
  }) }
  # A host knows whom it may reach, or be reached by, and nobody else: the gatekeeper no server, a server no gatekeeper.
  neighbours = { for name, host in local.hosts : name => [
    for other, one in local.hosts : other if other == name || anytrue([
      for edge in local.edges :
      contains([[host.group, one.group], [one.group, host.group]], [edge.from, edge.to])
    ])
  ] }
  managed_names = merge(
    { for manager in aws_db_instance.manager : "manager" => manager.address },
    { for number, worker in aws_db_instance.worker : local.worker_names[number] => worker.address },
    { for cluster in aws_rds_cluster.servers : "manager" => cluster.endpoint },
  )
  master_secret = one(concat(aws_db_instance.manager[*].master_user_secret[0].secret_arn, aws_rds_cluster.servers[*].master_user_secret[0].secret_arn))
}

resource "aws_instance" "host" {
  for_each = local.hosts

  ami                     = coalesce(var.ami_id, nonsensitive(data.aws_ssm_parameter.ami.value))
  instance_type           = each.value.type
  subnet_id               = each.value.subnet
  private_ip              = each.value.address
  vpc_security_group_ids  = [aws_security_group.group[each.value.group].id]
  iam_instance_profile    = aws_iam_instance_profile.host[each.key].name
  ebs_optimized           = true
  monitoring              = true
  disable_api_termination = var.deletion_protection && each.key == "manager"

  user_data = templatefile("${path.module}/user_data.yaml.tftpl", {
    role      = each.value.role
    name      = each.key
    secret    = aws_secretsmanager_secret.host[each.key].name
    addresses = indent(6, join("\n", [for other in local.neighbours[each.key] : "${local.hosts[other].address} ${other}"]))
    workers   = each.key == "proxy" ? join(" ", local.worker_names) : ""
    managed   = each.key == "proxy" ? join(" ", [for name, address in local.managed_names : "${name}=${address}"]) : ""
    master    = each.key == "proxy" && local.managed ? local.master_secret : ""
    packages  = jsonencode(concat(each.value.packages, ["amazon-cloudwatch-agent"]))
    bundle    = "s3://${aws_s3_bucket.package.id}/${aws_s3_object.package.key}"
    region    = data.aws_region.current.region
    log_group = aws_cloudwatch_log_group.hosts.name
  })

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  root_block_device {
    encrypted   = true
    kms_key_id  = aws_kms_key.chain.arn
    volume_type = "gp3"
    volume_size = each.value.storage
  }

  tags = { Name = "${var.name}-${each.key}" }

  # cloud-init runs once: all that it asks for must be there, and allowed, when the machine starts.
  depends_on = [
    aws_iam_role_policy.host,
    aws_iam_role_policy.managed,
    aws_route_table_association.public,
    aws_route_table_association.private,
    aws_vpc_endpoint.interface,
    aws_vpc_security_group_egress_rule.edge,
    aws_vpc_security_group_egress_rule.s3,
    aws_vpc_security_group_ingress_rule.edge,
  ]

  lifecycle {
    # A newer image, or a newer bundle, is no reason to lose a server: replace hosts one at a time with -replace.
    ignore_changes = [ami, user_data]
  }
}

resource "aws_eip" "gatekeeper" {
  domain   = "vpc"
  instance = aws_instance.host["gatekeeper"].id
  tags     = { Name = "${var.name}-gatekeeper" }

  depends_on = [aws_internet_gateway.chain]
}
