"""Reads each role.yaml and role.tf below a folder, and prints what they hold, as JSON by file."""

import json
import re
import sys
from pathlib import Path

import hcl2
import yaml


class CloudFormation(yaml.SafeLoader):
    """YAML with CloudFormation's functions, each as an object with its name."""


CloudFormation.add_multi_constructor("!", lambda loader, name, node: {name: loader.construct_scalar(node)})


def of_yaml(text):
    template = yaml.load(text, CloudFormation)
    role = template["Resources"]["Role"]["Properties"]
    assert role["RoleName"] == {"Ref": "RoleName"}, role
    [policy] = role["Policies"]
    return {
        "roleName": template["Parameters"]["RoleName"]["Default"],
        "trustPolicy": role["AssumeRolePolicyDocument"],
        "permissionsPolicy": policy["PolicyDocument"],
    }


def heredoc(raw):
    """The text of a heredoc, of which the reader leaves the marks and escapes. Terraform would evaluate
    what is not escaped, which the reader does not."""
    first, *lines, last = raw.strip('"').split("\n")
    assert (first, last.strip()) == ("<<-POLICY", "POLICY"), raw
    assert not re.search(r"(?<!\$)\$\{|(?<!%)%\{", raw), raw
    return json.loads("\n".join(lines).replace("$${", "${").replace("%%{", "%{"))


def of_hcl(text):
    [local] = hcl2.loads(text)["locals"]
    return {
        "roleName": json.loads(local["audit_export_role_name"]),
        "trustPolicy": heredoc(local["audit_export_trust_policy"]),
        "permissionsPolicy": heredoc(local["audit_export_permissions_policy"]),
    }


found = {}
for path in Path(sys.argv[1]).glob("*/role.*"):
    read = {".yaml": of_yaml, ".tf": of_hcl}.get(path.suffix)
    if read:
        found[f"{path.parent.name}/{path.name}"] = read(path.read_text())
print(json.dumps(found))
