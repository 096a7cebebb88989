# As chain.tftest.hcl, with Aurora.

mock_provider "aws" {
  source = "./tests/aws"
}

variables {
  client_cidrs = ["203.0.113.0/24"]
  package      = "main.tf" # any file that is there
}

run "aurora" {
  variables {
    servers = "aurora"
  }

  assert {
    condition     = length(aws_rds_cluster_instance.server) == 3 && length(aws_db_instance.manager) + length(aws_db_instance.worker) == 0
    error_message = "A writer and two standbys, and nothing of RDS."
  }
  assert {
    condition     = alltrue([for line in ["MANAGED=\"manager=aurora.example.org\"", "WORKERS=\"\"", "MASTER_SECRET=arn:master"] : strcontains(aws_instance.host["proxy"].user_data, line)])
    error_message = "The proxy knows the writer's name, and no worker."
  }
  assert {
    condition     = length(aws_cloudwatch_metric_alarm.lag) == 0
    error_message = "Nobody lags."
  }
}
