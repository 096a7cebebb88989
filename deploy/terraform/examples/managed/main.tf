# Gatekeeper, trusted host and proxy in front of RDS: a manager with a standby, and two read replicas. README.md in the module says how to run it.

variable "client_cidrs" {
  description = "Networks that clients come from."
  type        = list(string)
}

provider "aws" {
  region = "eu-central-1"

  default_tags {
    tags = { Project = "mysqlproxy" }
  }
}

module "chain" {
  source = "../.."

  client_cidrs = var.client_cidrs
  servers      = "rds" # or "aurora"
  package      = "${path.root}/mysqlproxy-bundle.tar.gz"
}

output "chain" {
  description = "Where to connect, and what to run next."
  value       = module.chain
}
