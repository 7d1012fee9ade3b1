#!/usr/bin/env bash
# Makes the IAM role by which your audit log is delivered to your bucket, and prints its ARN, which goes
# into roleArn. Run it as an administrator of the AWS account that the role is to be in; AWS CloudShell
# has all that it needs. Run again, it brings the role up to date.
#
# The bucket has to exist. If it is another account's, its policy has to allow the role the same. It is
# worth a lifecycle rule that aborts incomplete multipart uploads after a day; this script sets none,
# since that would replace the rules that the bucket has.

# shellcheck disable=SC2016 # policies may hold variables of IAM's
set -euo pipefail

# Chooses the part of AWS: commercial, China or GovCloud. Roles are the same in all of its regions.
export AWS_REGION='{{region}}' AWS_DEFAULT_REGION='{{region}}'
export AWS_PAGER=

role_name='{{role_name}}'
principal='{{principal}}'
external_id='{{external_id}}'
trust_policy='{{trust_policy}}'
permissions_policy='{{permissions_policy}}'

if trusted=$(aws iam get-role --role-name "$role_name" \
  --query Role.AssumeRolePolicyDocument --output json 2>/dev/null); then
  # It may be changed if it is for this external id, or trusts us without any: that would be let in for
  # everybody, and is mended here.
  if [[ $trusted != *"\"$external_id\""* && ($trusted != *"\"$principal\""* || $trusted == *sts:ExternalId*) ]]; then
    echo "There is a role $role_name already that is not for this audit log: ask for another roleName." >&2
    exit 1
  fi
  aws iam update-assume-role-policy --role-name "$role_name" --policy-document "$trust_policy"
else
  aws iam create-role --role-name "$role_name" --assume-role-policy-document "$trust_policy" \
    --description "Delivers the audit log" >/dev/null
fi
aws iam put-role-policy --role-name "$role_name" --policy-name audit-export \
  --policy-document "$permissions_policy"

# It may take some seconds until all of AWS knows a new role.
aws iam get-role --role-name "$role_name" --query Role.Arn --output text
