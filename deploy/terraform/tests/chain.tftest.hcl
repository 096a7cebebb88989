# `terraform init && terraform test`: the module applied with answers of AWS made up. Nothing is made, no account is needed.
# Terraform 1.7 and newer.

mock_provider "aws" {
  source = "./tests/aws"
}

variables {
  client_cidrs = ["203.0.113.0/24"]
  package      = "main.tf" # any file that is there
}

run "own_servers" {
  variables {
    workers = 3
  }

  assert {
    condition     = toset(keys(aws_instance.host)) == toset(["gatekeeper", "trusted-host", "proxy", "manager", "worker1", "worker2", "worker3"])
    error_message = "Each hop and each server is a machine of its own."
  }
  assert {
    condition     = length(distinct([for host in aws_instance.host : host.private_ip])) == 7
    error_message = "Each has an address of its own."
  }
  assert {
    condition     = alltrue([for host in aws_instance.host : startswith(host.user_data, "#cloud-config\n") && can(yamldecode(host.user_data))])
    error_message = "User data is YAML."
  }
  assert {
    condition     = alltrue([for host in aws_instance.host : length(host.user_data) < 16384])
    error_message = "User data is longer than EC2 takes."
  }
  assert {
    condition = alltrue([
      for name, host in aws_instance.host : !strcontains(host.user_data, aws_instance.host["manager"].private_ip)
      if contains(["gatekeeper", "trusted-host"], name)
    ])
    error_message = "Gatekeeper and trusted host are told no server's address."
  }
  assert {
    condition     = strcontains(aws_instance.host["proxy"].user_data, "WORKERS=\"worker1 worker2 worker3\"")
    error_message = "The proxy knows all workers."
  }
  assert {
    condition     = [for name, host in aws_instance.host : name if host.disable_api_termination] == ["manager"]
    error_message = "The manager is protected; a worker can be replaced."
  }
  assert {
    condition     = length(aws_db_instance.manager) + length(aws_db_instance.worker) == 0
    error_message = "No managed servers."
  }
  assert {
    condition = toset(values(aws_cloudwatch_metric_alarm.down)[*].alarm_description) == toset([
      "gatekeeper does not reach trusted-host", "trusted-host does not reach proxy", "proxy does not reach manager",
      "proxy does not reach worker1", "proxy does not reach worker2", "proxy does not reach worker3",
    ])
    error_message = "Each arrow has an alarm."
  }
}

run "no_worker" {
  command = plan

  variables {
    workers = 0
  }

  expect_failures = [var.workers]
}

run "clients_from_nowhere" {
  command = plan

  variables {
    client_cidrs = []
  }

  expect_failures = [var.client_cidrs]
}
