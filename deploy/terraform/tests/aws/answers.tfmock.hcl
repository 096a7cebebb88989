# What AWS answers in the tests, where it is not any text.

mock_data "aws_availability_zones" {
  defaults = { names = ["eu-central-1a", "eu-central-1b", "eu-central-1c"] }
}

mock_data "aws_region" {
  defaults = { region = "eu-central-1" }
}

mock_data "aws_iam_policy_document" {
  defaults = { json = "{}" }
}

mock_resource "aws_db_instance" {
  defaults = {
    address            = "rds.example.org"
    master_user_secret = [{ secret_arn = "arn:master", kms_key_id = "", secret_status = "" }]
  }
}

mock_resource "aws_rds_cluster" {
  defaults = {
    endpoint           = "aurora.example.org"
    master_user_secret = [{ secret_arn = "arn:master", kms_key_id = "", secret_status = "" }]
  }
}
