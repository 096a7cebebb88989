output "gatekeeper" {
  description = "Where clients connect, port 3306."
  value       = aws_eip.gatekeeper.public_ip
}

output "addresses" {
  description = "The hosts' private addresses."
  value       = { for name, host in local.hosts : name => host.address }
}

output "put_secrets" {
  description = "Run this once after apply: makes keys and passwords, and gives every host its own."
  value = join(" ", concat(
    [local.managed ? "SERVERS_CA=global-bundle.pem deploy/provision/put_secrets.sh" : "deploy/provision/put_secrets.sh", var.name, "FOLDER", aws_eip.gatekeeper.public_ip],
    local.managed ? [] : local.worker_names,
  ))
}

output "workload" {
  description = "Then this: the demo's workload, and which server served what."
  value       = "deploy/provision/workload.sh ${aws_eip.gatekeeper.public_ip} FOLDER ${aws_instance.host["proxy"].id}"
}
