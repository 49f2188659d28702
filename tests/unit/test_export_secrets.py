"""No exported file holds a secret: by names as teams write them, in variables and in arguments."""

from __future__ import annotations

import pytest

from tuner.domain.errors import UsageError
from tuner.manifests.exports.secrets import refuse_secrets

SECRET_NAMES = [
    "AZURE_STORAGE_KEY", "MYSQL_PWD", "PGPASSWORD", "dbPassword", "REDISCLI_AUTH", "ENCRYPTION_KEY", "API_TOKEN",
    "AWS_SECRET_ACCESS_KEY", "client-secret", "apiKey", "APIKEY", "HF_TOKEN", "GOOGLE_CREDENTIALS",
]  # fmt: skip


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_a_value_under_a_secrets_name_is_refused(name):
    with pytest.raises(UsageError, match="looks like a secret"):
        refuse_secrets([{"env": [{"name": name, "value": "hunter2"}]}])
    with pytest.raises(UsageError, match="looks like a secret"):
        refuse_secrets([{"args": [f"--{name}=hunter2"]}])
    refuse_secrets([{"env": [{"name": name, "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}])
    refuse_secrets([{"args": [f"--{name}=$(FROM_A_SECRET)"]}])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PGPASSWORD_FILE", "/run/secrets/pg"),
        ("TLS_KEY_PATH", "/etc/tls/key.pem"),
        ("ssl-key-file", "/etc/tls/key.pem"),
        ("MAX_TOKENS", "4096"),
        ("TOKEN_LIMIT", "2048"),
        ("KEYBOARD", "us"),
        ("MONKEY", "yes please"),
        ("AUTHOR", "ada"),
        ("model-repository", "/models"),
    ],
)
def test_what_only_sounds_like_one_is_let_through(name, value):
    refuse_secrets([{"env": [{"name": name, "value": value}], "args": [f"--{name}={value}"]}])
