"""What is hidden by its name, and what is not although it looks alike."""

from __future__ import annotations

import pytest

from autoinstrument.capture.secrets import hide_in_text, is_secret, without_credentials


@pytest.mark.parametrize(
    "name",
    [
        "password", "passwd", "db_password", "DB-PASSWORD", "--password", "token", "hf_token", "HF_TOKEN", "hfToken",
        "auth.token", "secret", "client_secret", "api_key", "apikey", "api-key", "openaiApiKey", "access_key",
        "aws_access_key_id", "credential", "credentials_file", "private_key", "passphrase",
    ],
)  # fmt: skip
def test_secret(name):
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        "tokens", "max_tokens", "num_tokens", "tokenizer", "tokenizer_name", "pad_token", "eos_token", "mask_token",
        "token_dim", "maxTokens", "lr", "pass", "passes", "keys", "key", "monkey", "accessory", "image_token", "",
    ],
)  # fmt: skip
def test_no_secret(name):
    assert not is_secret(name)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("pg://u:p@host/db", "pg://u:********@host/db"),
        ("see http://a:b@c and http://d:e@f", "see http://a:********@c and http://d:********@f"),
        ("http://host:8080/a@b", "http://host:8080/a@b"),
        ("a:b@c", "a:b@c"),
    ],
)
def test_passwords_of_urls_are_hidden(text, shown):
    assert hide_in_text(text) == shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@host/a", "https://host/a"),
        ("https://u@b.c:p@host/a@1", "https://host/a@1"),
        ("ssh://git:p@host/a", "ssh://git@host/a"),
        ("git@host:a.git", "git@host:a.git"),
        ("/srv/a.git", "/srv/a.git"),
        ("file:///srv/a.git", "file:///srv/a.git"),
        ("https://host/a.zip?X-Amz-Signature=x&v=1#sha256=2", "https://host/a.zip?v=1#sha256=2"),
    ],
)
def test_credentials_of_urls_are_stripped(url, shown):
    assert without_credentials(url) == shown
