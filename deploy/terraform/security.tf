# Who may reach whom: the clients the gatekeeper, each hop only its next, workers their manager, and nobody anything else.
# The outgoing side says the same as the incoming one, so that either alone would hold.

locals {
  groups = {
    gatekeeper   = "Clients in, the trusted host out"
    trusted_host = "Gatekeeper in, the proxy out"
    proxy        = "Trusted host in, the servers out"
    manager      = "Proxy and replication in"
    worker       = "Proxy in, replication out"
    endpoints    = "AWS services"
  }
  edges = {
    gatekeeper_trusted_host = { from = "gatekeeper", to = "trusted_host", port = 3306 }
    trusted_host_proxy      = { from = "trusted_host", to = "proxy", port = 3306 }
    proxy_manager           = { from = "proxy", to = "manager", port = 3306 }
    proxy_worker            = { from = "proxy", to = "worker", port = 3306 }
    worker_manager          = { from = "worker", to = "manager", port = 3306 }
    gatekeeper_endpoints    = { from = "gatekeeper", to = "endpoints", port = 443 }
    trusted_host_endpoints  = { from = "trusted_host", to = "endpoints", port = 443 }
    proxy_endpoints         = { from = "proxy", to = "endpoints", port = 443 }
    manager_endpoints       = { from = "manager", to = "endpoints", port = 443 }
    worker_endpoints        = { from = "worker", to = "endpoints", port = 443 }
  }
}

resource "aws_security_group" "group" {
  for_each = local.groups

  name        = "${var.name}-${replace(each.key, "_", "-")}"
  description = each.value
  vpc_id      = aws_vpc.chain.id
  tags        = { Name = "${var.name}-${replace(each.key, "_", "-")}" }
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  for_each = toset(var.client_cidrs)

  security_group_id = aws_security_group.group["gatekeeper"].id
  description       = "Clients"
  cidr_ipv4         = each.key
  ip_protocol       = "tcp"
  from_port         = 3306
  to_port           = 3306
}

resource "aws_vpc_security_group_ingress_rule" "edge" {
  for_each = local.edges

  security_group_id            = aws_security_group.group[each.value.to].id
  description                  = "From ${each.value.from}"
  referenced_security_group_id = aws_security_group.group[each.value.from].id
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
}

resource "aws_vpc_security_group_egress_rule" "edge" {
  for_each = local.edges

  security_group_id            = aws_security_group.group[each.value.from].id
  description                  = "To ${each.value.to}"
  referenced_security_group_id = aws_security_group.group[each.value.to].id
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
}

# The bundle and packages. The endpoint's policy says which buckets.
resource "aws_vpc_security_group_egress_rule" "s3" {
  for_each = toset(["gatekeeper", "trusted_host", "proxy", "manager", "worker"])

  security_group_id = aws_security_group.group[each.key].id
  description       = "S3, by the VPC's endpoint"
  prefix_list_id    = aws_vpc_endpoint.s3.prefix_list_id
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}
