"""Keys that sign tokens, in the production template."""

from tests.unit.infra.test_template import as_list, list_statements


def test_the_api_signs_with_the_stages_own_keys_and_one_function_makes_and_drops_them(template):
    seen = {}
    for role, statement in list_statements(template):
        for action in as_list(statement["Action"]):
            if action.startswith("kms:") and "Condition" in statement:
                seen[action] = (role, statement["Condition"]["StringEquals"])
    tags = {"provocative:stage": "prod", "provocative:purpose": "token-signing"}
    ours = {f"aws:ResourceTag/{name}": value for name, value in tags.items()}
    made = {f"aws:RequestTag/{name}": value for name, value in tags.items()}
    turns = "RotateSigningKeysRole"
    assert seen == {
        "kms:Sign": ("ApiHandlerRole", ours | {"kms:SigningAlgorithm": "ECDSA_SHA_256"}),
        "kms:CreateKey": (turns, made | {"kms:KeySpec": "ECC_NIST_P256", "kms:KeyUsage": "SIGN_VERIFY"}),
        "kms:TagResource": (turns, made),
        "kms:GetPublicKey": (turns, ours),
        "kms:ScheduleKeyDeletion": (turns, ours),
    }
