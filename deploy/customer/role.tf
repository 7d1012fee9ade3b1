# The IAM role by which your audit log is delivered to your bucket. Apply it in the AWS account that the
# role is to be in; the output audit_export_role_arn goes into roleArn.
#
# The bucket has to exist. If it is another account's, its policy has to allow the role the same. It is
# worth a lifecycle rule that aborts incomplete multipart uploads after a day.

locals {
  audit_export_role_name = "{{role_name}}"

  audit_export_trust_policy = <<-POLICY
    {{trust_policy}}
  POLICY

  audit_export_permissions_policy = <<-POLICY
    {{permissions_policy}}
  POLICY
}

resource "aws_iam_role" "audit_export" {
  name               = local.audit_export_role_name
  description        = "Delivers the audit log"
  assume_role_policy = local.audit_export_trust_policy
}

resource "aws_iam_role_policy" "audit_export" {
  name   = "audit-export"
  role   = aws_iam_role.audit_export.name
  policy = local.audit_export_permissions_policy
}

output "audit_export_role_arn" {
  value = aws_iam_role.audit_export.arn
}
