# As chain.tftest.hcl, with RDS.

mock_provider "aws" {
  source = "./tests/aws"
}

variables {
  client_cidrs = ["203.0.113.0/24"]
  package      = "main.tf" # any file that is there
}

run "rds" {
  variables {
    servers = "rds"
  }

  assert {
    condition     = toset(keys(aws_instance.host)) == toset(["gatekeeper", "trusted-host", "proxy"])
    error_message = "The hops are machines, the servers are not."
  }
  assert {
    condition     = aws_db_instance.manager[0].multi_az && length(aws_db_instance.worker) == 2
    error_message = "A manager with a standby, and two replicas."
  }
  assert {
    condition     = strcontains(aws_instance.host["proxy"].user_data, "MANAGED=\"manager=rds.example.org worker1=rds.example.org worker2=rds.example.org\"")
    error_message = "The proxy knows the servers' addresses."
  }
  assert {
    condition = alltrue([
      for name, host in aws_instance.host :
      !strcontains(host.user_data, "rds.example.org") && !strcontains(host.user_data, "arn:master") if name != "proxy"
    ])
    error_message = "Nobody else does."
  }
}
