variable "name" {
  description = "Prefix of all names, and of the secrets."
  type        = string
  default     = "mysqlproxy"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}$", var.name))
    error_message = "Lower-case letters, digits and hyphens, at most 31."
  }
}

variable "client_cidrs" {
  description = "Networks that clients come from: nobody else reaches the gatekeeper."
  type        = list(string)

  validation {
    condition     = length(var.client_cidrs) > 0 && alltrue([for cidr in var.client_cidrs : can(cidrhost(cidr, 0))])
    error_message = "At least one network, as in 203.0.113.0/24."
  }
}

variable "package" {
  description = "What deploy/provision/bundle.sh has made: the daemon and the scripts for all hosts."
  type        = string
}

variable "vpc_cidr" {
  description = "The network of the chain; a /16."
  type        = string
  default     = "10.80.0.0/16"

  validation {
    condition     = can(cidrhost(var.vpc_cidr, 0)) && endswith(var.vpc_cidr, "/16")
    error_message = "A /16, as 10.80.0.0/16."
  }
}

variable "workers" {
  description = "How many workers (replicas; with Aurora standbys)."
  type        = number
  default     = 2

  validation {
    condition     = contains(range(1, 16), var.workers)
    error_message = "From 1 to 15."
  }
}

variable "servers" {
  description = "own: a manager and workers on EC2. rds: a manager with a standby, and read replicas. aurora: a writer, and standbys that take no reads."
  type        = string
  default     = "own"

  validation {
    condition     = contains(["own", "rds", "aurora"], var.servers)
    error_message = "One of own, rds, aurora."
  }
}

variable "instance_types" {
  description = "Of the hops and of the servers (own ones, and RDS or Aurora)."
  type        = object({ hop = string, server = string, managed = string })
  default     = { hop = "c7i.large", server = "r7i.large", managed = "db.r7g.large" }
}

variable "server_storage" {
  description = "GiB of each server."
  type        = number
  default     = 100
}

variable "ami_id" {
  description = "Amazon Linux 2023; the newest one by default."
  type        = string
  default     = null
}

variable "server_package" {
  description = "MariaDB's server in Amazon Linux 2023."
  type        = string
  default     = "mariadb1011-server"
}

variable "alarm_topic_arn" {
  description = "The SNS topic that alarms go to; none by default."
  type        = string
  default     = null
}

variable "log_retention_days" {
  description = "Of flow logs and of the hosts' logs."
  type        = number
  default     = 365
}

variable "deletion_protection" {
  description = "Own manager and RDS cannot be destroyed by mistake, and secrets of a destroyed chain are kept for 30 days."
  type        = bool
  default     = true
}
